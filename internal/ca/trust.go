package ca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
)

// Roots gives what clients of servers with our certificates must trust: the roots of ruche.AuthorityServices, the next one included.
func (a *Authority) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	return a.RootsOf(ctx, ruche.AuthorityServices)
}

// RootsOf gives the roots of an authority, the next one included.
func (a *Authority) RootsOf(ctx context.Context, authority string) ([]*x509.Certificate, error) {
	e, err := a.read(ctx, authority)
	if err != nil {
		return nil, err
	}
	list := make([]*x509.Certificate, 0, len(e.Value.Roots))
	for _, i := range e.Value.Roots {
		root, err := i.parse()
		if err != nil {
			return nil, err
		}
		list = append(list, root.cert)
	}
	return list, nil
}

// Bundle gives the roots of an authority in PEM.
func (a *Authority) Bundle(ctx context.Context, authority string) ([]byte, error) {
	roots, err := a.RootsOf(ctx, authority)
	var text []byte
	for _, root := range roots {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})...)
	}
	return text, err
}

// CRLs gives the lists of all issuers of an authority in PEM, as nginx and Apache take them.
func (a *Authority) CRLs(ctx context.Context, authority string) ([]byte, error) {
	e, err := a.read(ctx, authority)
	if err != nil {
		return nil, err
	}
	var text []byte
	for _, i := range slices.Concat(e.Value.Roots, e.Value.Intermediates) {
		if len(i.Key) == 0 {
			continue // the parent's own list is the parent's to publish
		}
		der, err := a.CRL(ctx, i.ID)
		if err != nil {
			return nil, err
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
	}
	return text, nil
}

// ServeHTTP gives what everybody may have, under /ca/: "bundle.pem", the roots of the services; "NAME.pem", those of an authority; "NAME.crl.pem", all its lists of revoked
// certificates; and "ISSUER.crl", one of them in DER (RFC 5280 section 4.2.1.13).
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this can be read only", http.StatusMethodNotAllowed)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/ca/")
	if !ok || strings.Contains(name, "/") {
		http.NotFound(w, r)
		return
	}
	content, kind, err := a.file(r.Context(), name)
	switch {
	case errors.Is(err, ruche.ErrNotFound):
		writeMissing(w, name)
	case err != nil:
		a.cfg.Logger.Warn("cannot give a file of the authority", "file", name, "error", err)
		http.Error(w, "it cannot be had now", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(content)
	}
}

// writeMissing says that there is no such file, in the form in which the API tells mistakes.
func writeMissing(w http.ResponseWriter, name string) {
	body, _ := json.Marshal(map[string]string{
		"error": fmt.Sprintf("there is no %.80q: no authority or issuer has that name", name),
		"hint":  `"ruche ca status" lists authorities and issuers; "ruche ca init" makes services and clients`,
	})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write(body)
}

func (a *Authority) file(ctx context.Context, name string) (content []byte, kind string, err error) {
	if authority, ok := strings.CutSuffix(name, ".crl.pem"); ok {
		content, err = a.CRLs(ctx, authority)
		return content, "application/x-pem-file", err
	}
	if issuer, ok := strings.CutSuffix(name, ".crl"); ok {
		content, err = a.CRL(ctx, issuer)
		return content, "application/pkix-crl", err
	}
	authority, ok := strings.CutSuffix(name, ".pem")
	if !ok {
		return nil, "", ruche.ErrNotFound
	}
	if authority == "bundle" {
		authority = ruche.AuthorityServices
	}
	content, err = a.Bundle(ctx, authority)
	return content, "application/x-pem-file", err
}
