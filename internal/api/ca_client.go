package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/ruche-project/ruche"
)

// Authorities asks a control node how the authorities are.
func (c *Client) Authorities(ctx context.Context) (ruche.AuthorityList, error) {
	var list ruche.AuthorityList
	err := c.get(ctx, "/api/v1/ca", &list)
	return list, err
}

// IssuedCertificates asks what the authority has issued; with a name or serial only for what has that.
func (c *Client) IssuedCertificates(ctx context.Context, what string) (ruche.IssuedList, error) {
	var list ruche.IssuedList
	err := c.get(ctx, "/api/v1/ca/certificates?what="+url.QueryEscape(what), &list)
	return list, err
}

// BeginAuthorities has authorities made.
func (c *Client) BeginAuthorities(ctx context.Context, r ruche.AuthorityRequest) (ruche.AuthorityAnswer, error) {
	var answer ruche.AuthorityAnswer
	err := c.ask(ctx, http.MethodPost, "/api/v1/ca", r, &answer)
	return answer, err
}

// ImportIntermediate hands on what a parent has signed.
func (c *Client) ImportIntermediate(ctx context.Context, p ruche.ParentChain) error {
	return c.ask(ctx, http.MethodPost, "/api/v1/ca/parent", p, &struct{}{})
}

// SignCertificate asks for a certificate.
func (c *Client) SignCertificate(ctx context.Context, r ruche.SigningRequest) (ruche.SignedCertificate, error) {
	var signed ruche.SignedCertificate
	err := c.ask(ctx, http.MethodPost, "/api/v1/ca/certificates", r, &signed)
	return signed, err
}

// RevokeIssued asks for certificates to be revoked, and gives which were.
func (c *Client) RevokeIssued(ctx context.Context, r ruche.RevocationRequest) (ruche.IssuedList, error) {
	var list ruche.IssuedList
	err := c.ask(ctx, http.MethodPost, "/api/v1/ca/revocations", r, &list)
	return list, err
}

// ReplaceIssued asks for certificates to be replaced before their turn, and gives which they are.
func (c *Client) ReplaceIssued(ctx context.Context, r ruche.ReplacementRequest) (ruche.IssuedList, error) {
	var list ruche.IssuedList
	err := c.ask(ctx, http.MethodPost, "/api/v1/ca/replacements", r, &list)
	return list, err
}

// AuthorityFile gives what everybody may have of the authority: "bundle.pem", "clients.pem", "services.crl.pem", "services-i3.crl".
func (c *Client) AuthorityFile(ctx context.Context, name string) ([]byte, error) {
	resp, err := c.do(ctx, c.http, http.MethodGet, "/ca/"+url.PathEscape(name), nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer of %s: %w", c.addr, err)
	}
	return content, nil
}
