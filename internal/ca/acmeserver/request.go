package acmeserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

const maxBody = 64 << 10

// signedBy says by what a request must be signed (RFC 8555 section 6.2).
type signedBy int

const (
	byAccount signedBy = iota // the key of an account, which "kid" names
	byKey                     // a key that the request carries
	byEither
)

// query is a request whose signature was checked.
type query struct {
	*http.Request
	url     string               // of the request, as the client signed it
	account ruche.Entry[Account] // by "kid"; the zero value without
	key     *jwk                 // that it was signed by
	payload []byte
}

// asGet tells that the client asks for something without sending anything (RFC 8555 section 6.3).
func (q *query) asGet() bool { return len(q.payload) == 0 }

// read decodes the payload.
func (q *query) read(v any) error {
	if err := json.Unmarshal(q.payload, v); err != nil {
		return problem(malformed, "the payload is not the JSON object that belongs here")
	}
	return nil
}

// who names account and client for the log.
func (q *query) who() []slog.Attr {
	attrs := []slog.Attr{slog.String("client", q.RemoteAddr)}
	if q.account.Key != "" {
		attrs = append(attrs, slog.String("account", q.account.Key))
	}
	return attrs
}

// answer is what a handler answers with.
type answer struct {
	status   int // 0: 200
	location string
	links    []string
	body     any
	pem      []byte // instead of a body
	retry    time.Duration
}

func (a *answer) write(w http.ResponseWriter) {
	h := w.Header()
	for _, l := range a.links {
		h.Add("Link", l)
	}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if a.retry > 0 {
		h.Set("Retry-After", seconds(a.retry))
	}
	kind, data := "application/pem-certificate-chain", a.pem
	if a.body != nil {
		kind = "application/json"
		data, _ = json.Marshal(a.body) // made of text, times and numbers
	}
	if data != nil {
		h.Set("Content-Type", kind)
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write(data) // the client has gone: nobody is left to tell
}

// get makes a handler of what needs no signature.
func (s *Server) get(h func(context.Context, *http.Request) (*answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			notAllowed(w, "GET, HEAD")
			return
		}
		a, err := h(r.Context(), r)
		s.finish(w, r, a, err)
	}
}

// post makes a handler of what needs one.
func (s *Server) post(by signedBy, h func(context.Context, *query) (*answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			notAllowed(w, "POST")
			return
		}
		w.Header().Set("Replay-Nonce", s.shared.Load().make())
		q, err := s.authenticate(w, r, by)
		var a *answer
		if err == nil {
			a, err = h(r.Context(), q)
		}
		s.finish(w, r, a, err)
	}
}

func (s *Server) finish(w http.ResponseWriter, r *http.Request, a *answer, err error) {
	var p *Problem
	switch {
	case err == nil:
		a.write(w)
		return
	case errors.As(err, &p):
	case errors.Is(err, ruche.ErrConflict):
		p = problem(serverInternal, "something else changed it at the same moment: try again").after(time.Second)
		p.Status = http.StatusServiceUnavailable
	default:
		if r.Context().Err() == nil {
			s.cfg.Logger.Error("the ACME server cannot answer a request", slog.String("path", r.URL.Path), slog.Any("error", err))
		}
		p = problem(serverInternal, "the server cannot do that now; its log says why").after(30 * time.Second)
	}
	if p.terms && s.cfg.Terms != "" {
		w.Header().Add("Link", "<"+s.cfg.Terms+`>;rel="terms-of-service"`)
	}
	s.refuse(w, p)
}

func notAllowed(w http.ResponseWriter, methods string) {
	w.Header().Set("Allow", methods)
	p := problem(malformed, "the method is not one of %s", methods)
	p.Status = http.StatusMethodNotAllowed
	p.write(w)
}

// authenticate reads a request, and checks its head, its signature and its nonce.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request, by signedBy) (*query, error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/jose+json" {
		p := problem(malformed, "the request must be application/jose+json")
		p.Status = http.StatusUnsupportedMediaType
		return nil, p
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		p := problem(malformed, "the request is cut off, or larger than %d bytes", maxBody)
		p.Status = http.StatusRequestEntityTooLarge
		return nil, p
	}
	j, p := parseJWS(body)
	if p != nil {
		return nil, p
	}
	q := &query{Request: r, url: s.url + strings.TrimPrefix(r.URL.RequestURI(), s.path), payload: j.payload, key: j.key}
	if j.url != q.url {
		return nil, problem(unauthorized, "the request was signed for %.200q, and came to %s", j.url, q.url)
	}
	if _, ok := s.shared.Load().open(j.nonce); !ok {
		return nil, errNonce()
	}
	if by == byAccount && j.kid == "" || by == byKey && j.key == nil {
		return nil, problem(malformed, "the head of the JWS must have %s here", map[bool]string{true: "jwk", false: "kid"}[by == byKey])
	}
	if j.kid != "" {
		if err := s.load(r.Context(), q, j.kid); err != nil {
			return nil, err
		}
	}
	if p := j.verify(q.key); p != nil {
		return nil, p
	}
	if !s.shared.Load().take(j.nonce) {
		return nil, errNonce()
	}
	if j.kid != "" && q.account.Value.Status != StatusValid {
		return nil, problem(unauthorized, "the account is %s", q.account.Value.Status)
	}
	return q, nil
}

func errNonce() *Problem {
	return problem(badNonce, "the nonce is unknown, too old, or was used before: take the one of this answer")
}

// load finds the account that "kid" names, and its key.
func (s *Server) load(ctx context.Context, q *query, kid string) error {
	id, ok := strings.CutPrefix(kid, s.url+"/account/")
	missing := problem(accountDoesNotExist, "there is no account %.200q", kid)
	if !ok || id == "" || strings.Contains(id, "/") {
		return missing
	}
	e, err := s.cfg.Accounts.Get(ctx, id)
	if errors.Is(err, ruche.ErrNotFound) {
		return missing
	}
	if err != nil {
		return err
	}
	q.account = e
	if q.key, err = parseJWK(e.Value.Key); err != nil {
		return err
	}
	return nil
}
