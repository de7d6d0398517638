package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// maxCRL bounds a CRL: the largest of public CAs have some megabytes.
const maxCRL = 32 << 20

// revocation looks for the certificate in the CRLs that it names.
func (p *prober) revocation(ctx context.Context, sent []*x509.Certificate) {
	leaf := sent[0]
	if len(leaf.CRLDistributionPoints) == 0 {
		p.add(checkRevocation, ruche.LevelOK, "", "the certificate names no CRL: there is none to look at")
		return
	}
	var failure error
	for _, place := range leaf.CRLDistributionPoints {
		list, err := p.fetchCRL(ctx, place, sent)
		if err != nil {
			failure = fmt.Errorf("%s: %w", place, err)
			continue
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(leaf.SerialNumber) == 0 && entry.ReasonCode != removeFromCRL {
				p.add(checkRevocation, ruche.LevelError, "have another one issued, for a new key", "the certificate was revoked on %s%s", date(entry.RevocationTime), reason(entry.ReasonCode))
				return
			}
		}
		p.add(checkRevocation, ruche.LevelOK, "", "the certificate is not revoked, by the CRL of %s", date(list.ThisUpdate))
		return
	}
	p.add(checkRevocation, ruche.LevelNote, "look at the network from here to the CA, and ask again", "whether the certificate is revoked is not known: %v", failure)
}

// fetchCRL gets a CRL by HTTP, and holds it against its issuer, which must have been sent.
func (p *prober) fetchCRL(ctx context.Context, place string, sent []*x509.Certificate) (*x509.RevocationList, error) {
	list, err := download(ctx, place, p.Timeout)
	if err == nil {
		err = believe(list, sent, p.Now())
	}
	return list, err
}

// download gets a CRL. CAs have them at URLs of plain HTTP, since a CRL is signed (RFC 5280 section 8).
func download(ctx context.Context, place string, timeout time.Duration) (*x509.RevocationList, error) {
	u, err := url.Parse(place)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("it is no URL of HTTP")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxCRL+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxCRL {
		return nil, fmt.Errorf("it has more than %d MB", maxCRL>>20)
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, errors.New("it is no CRL")
	}
	return list, nil
}

// believe holds a CRL against the issuer of the first certificate of a chain, and the clock.
func believe(list *x509.RevocationList, sent []*x509.Certificate, now time.Time) error {
	err := errors.New("the certificate of its issuer was not sent")
	for _, issuer := range sent {
		if signs(issuer, sent[0]) {
			err = list.CheckSignatureFrom(issuer)
			break
		}
	}
	if err != nil {
		return fmt.Errorf("it cannot be believed: %w", err)
	}
	if now.After(list.NextUpdate) {
		return fmt.Errorf("it is out of date since %s", date(list.NextUpdate))
	}
	return nil
}

// Lists looks certificates up in the CRLs that they name. It keeps the list that was fetched last: who asks about many certificates asks in the order of their first list. It
// is made for one round, and used by one goroutine.
type Lists struct {
	Config
	place string
	list  *x509.RevocationList
	err   error
}

// Revoked gives when the first certificate of a chain was revoked, by a list that can be believed; zero when it was not. A certificate that names no list gives no error. Lists
// are fetched by plain HTTP alone, as public CAs have them.
func (l *Lists) Revoked(ctx context.Context, chain []*x509.Certificate) (at time.Time, err error) {
	cfg := newProber(ruche.CheckTarget{}, l.Config).Config
	for _, place := range chain[0].CRLDistributionPoints {
		if !strings.HasPrefix(place, "http://") {
			err = fmt.Errorf("cannot use the CRL %s: it is no URL of plain HTTP", place)
			continue
		}
		if l.place != place {
			l.list, l.err = download(ctx, place, cfg.Timeout)
			l.place = place
		}
		if err = l.err; err == nil {
			err = believe(l.list, chain, cfg.Now())
		}
		if err != nil {
			err = fmt.Errorf("cannot use the CRL %s: %w", place, err)
			continue
		}
		for _, entry := range l.list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(chain[0].SerialNumber) == 0 && entry.ReasonCode != removeFromCRL {
				return entry.RevocationTime, nil
			}
		}
		return time.Time{}, nil
	}
	return time.Time{}, err
}

// removeFromCRL is the reason by which a CRL takes a revocation back (RFC 5280 section 5.3.1).
const removeFromCRL = 8

// reason names that of a revocation.
func reason(code int) string {
	names := map[int]string{1: "its key is known to others", 2: "the CA is not to be trusted", 3: "the holder has changed", 4: "another has taken its place", 5: "it is not used any more", 6: "it is on hold", 9: "the right to the name has ended"}
	if name, ok := names[code]; ok {
		return ": " + name
	}
	return ""
}
