package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/ruche-project/ruche"
)

// ACMEKeys are external account keys: they say who may have which certificates by ACME.
type ACMEKeys interface {
	MakeKey(ctx context.Context, spec ruche.ACMEKeySpec) (ruche.ACMEKey, error)
	ListKeys(ctx context.Context) (ruche.ACMEKeyList, error)
	RemoveKey(ctx context.Context, id string) error
}

// addACMEKeys adds the paths of external account keys. Who reaches the admin address may list them; secrets are told once, on this host.
func (s *Server) addACMEKeys(mux *http.ServeMux) {
	keys := s.cfg.ACMEKeys
	mux.HandleFunc("GET /api/v1/ca/eab", func(w http.ResponseWriter, r *http.Request) {
		list, err := keys.ListKeys(r.Context())
		answerAuthority(w, list, err)
	})
	mux.HandleFunc("POST /api/v1/ca/eab", fromHere(authorityCall(keys.MakeKey)))
	mux.HandleFunc("DELETE /api/v1/ca/eab/{id}", fromHere(func(w http.ResponseWriter, r *http.Request) {
		answerAuthority(w, struct{}{}, keys.RemoveKey(r.Context(), r.PathValue("id")))
	}))
}

// MakeACMEKey has an external account key made, and gives it with its secret.
func (c *Client) MakeACMEKey(ctx context.Context, spec ruche.ACMEKeySpec) (ruche.ACMEKey, error) {
	var key ruche.ACMEKey
	err := c.ask(ctx, http.MethodPost, "/api/v1/ca/eab", spec, &key)
	return key, err
}

// ACMEKeys asks for the external account keys.
func (c *Client) ACMEKeys(ctx context.Context) (ruche.ACMEKeyList, error) {
	var list ruche.ACMEKeyList
	err := c.get(ctx, "/api/v1/ca/eab", &list)
	return list, err
}

// RemoveACMEKey ends an external account key.
func (c *Client) RemoveACMEKey(ctx context.Context, id string) error {
	return c.ask(ctx, http.MethodDelete, "/api/v1/ca/eab/"+url.PathEscape(id), nil, &struct{}{})
}
