package dns_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

const (
	apiSecret = "s3cret-t0ken-of-the-account"
	apiZone   = "example.test"
	apiName   = "_acme-challenge.www.example.test"
	apiLocal  = "_acme-challenge.www"
)

// redirect sends every call to the fake of a provider, and keeps what host it was meant for.
type redirect struct{ to *url.URL }

func (d redirect) RoundTrip(r *http.Request) (*http.Response, error) {
	to := r.Clone(r.Context())
	to.Header.Set("X-Meant-For", r.URL.Host)
	to.URL.Scheme, to.URL.Host = d.to.Scheme, d.to.Host
	return http.DefaultTransport.(*http.Transport).RoundTrip(to)
}

// fakeAPI is the other side of a provider's wire.
type fakeAPI struct {
	t    *testing.T
	zone *fakeZone
	mux  *http.ServeMux
}

func (f fakeAPI) answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if v != nil {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			f.t.Error(err)
		}
	}
}

func (f fakeAPI) read(r *http.Request, into any) {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		f.t.Errorf("%s %s: %v: %s", r.Method, r.URL, err, data)
	}
}

func (f fakeAPI) add(v string) {
	f.zone.change(apiName, func(all []string) []string { return append(all, v) })
}

// remove takes all values with the ID away; ids are made of values.
func (f fakeAPI) remove(id string) {
	f.zone.change(apiName, func(all []string) []string {
		return slices.DeleteFunc(all, func(v string) bool { return idOf(v) == id })
	})
}

func (f fakeAPI) set(values []string) {
	f.zone.change(apiName, func([]string) []string { return values })
}

func idOf(v string) string {
	h := fnv.New32a()
	h.Write([]byte(v))
	return strconv.Itoa(int(h.Sum32() >> 1))
}

func idNumber(v string) int { n, _ := strconv.Atoi(idOf(v)); return n }

// all gives a list with an entry for each value.
func (f fakeAPI) all(entry func(v string) any) []any {
	list := []any{}
	for _, v := range f.zone.values(apiName) {
		list = append(list, entry(v))
	}
	return list
}

type fields map[string]any

func quoted(v string) string { return `"` + v + `"` }

func unquoted(v string) string { return strings.Trim(v, `"`) }

// providers has the fake of each API, and the settings that it lets in.
func providers() map[string]struct {
	settings map[string]string
	host     string
	allowed  func(*http.Request, []byte) bool
	fake     func(fakeAPI)
} {
	header := func(name, value string) func(*http.Request, []byte) bool {
		return func(r *http.Request, _ []byte) bool { return r.Header.Get(name) == value }
	}
	return map[string]struct {
		settings map[string]string
		host     string
		allowed  func(*http.Request, []byte) bool
		fake     func(fakeAPI)
	}{
		"hetzner":      {map[string]string{"HETZNER_API_TOKEN": apiSecret}, "api.hetzner.cloud", header("Authorization", "Bearer "+apiSecret), fakeHetzner},
		"gandi":        {map[string]string{"GANDI_LIVEDNS_TOKEN": apiSecret}, "api.gandi.net", header("Authorization", "Bearer "+apiSecret), fakeGandi},
		"gandiv5":      {map[string]string{"GANDIV5_API_KEY": apiSecret}, "api.gandi.net", header("Authorization", "Apikey "+apiSecret), fakeGandi},
		"digitalocean": {map[string]string{"DO_API_KEY": apiSecret}, "api.digitalocean.com", header("Authorization", "Bearer "+apiSecret), fakeDigitalOcean},
		"dns_ionos":    {map[string]string{"IONOS_PREFIX": "prefix", "IONOS_SECRET": apiSecret}, "api.hosting.ionos.com", header("X-API-Key", "prefix."+apiSecret), fakeIonos},
		"porkbun": {map[string]string{"PORKBUN_API_KEY": "pk", "PORKBUN_SECRET_API_KEY": apiSecret}, "api.porkbun.com",
			func(_ *http.Request, body []byte) bool {
				return strings.Contains(string(body), `"secretapikey":"`+apiSecret+`"`)
			}, fakePorkbun},
		"ovh": {map[string]string{"OVH_AK": "ak", "OVH_AS": apiSecret, "OVH_CK": "consumer"}, "eu.api.ovh.com", func(r *http.Request, body []byte) bool {
			return r.URL.Path == "/1.0/auth/time" || signedForOVH(r, body)
		}, fakeOVH},
		"cloudflare": {map[string]string{"CF_Token": apiSecret}, "api.cloudflare.com", header("Authorization", "Bearer "+apiSecret), fakeCloudflare},
		"desec":      {map[string]string{"DEDYN_TOKEN": apiSecret}, "desec.io", header("Authorization", "Token "+apiSecret), fakeDesec},
		"infomaniak": {map[string]string{"INFOMANIAK_API_TOKEN": apiSecret}, "api.infomaniak.com", header("Authorization", "Bearer "+apiSecret), fakeInfomaniak},
	}
}

func TestProviders(t *testing.T) {
	for name, p := range providers() {
		t.Run(name, func(t *testing.T) {
			f := fakeAPI{t, newFakeZone(t, apiZone), http.NewServeMux()}
			p.fake(f)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if host := r.Header.Get("X-Meant-For"); host != p.host {
					t.Errorf("it speaks to %s", host)
				}
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(strings.NewReader(string(body)))
				if !p.allowed(r, body) {
					f.answer(w, http.StatusUnauthorized, fields{"message": "who are you? " + apiSecret[:3], "result": "error", "error": "x"})
					return
				}
				if _, pattern := f.mux.Handler(r); pattern == "" {
					t.Errorf("unexpected call %s %s", r.Method, r.URL)
				}
				f.mux.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			to, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			// Some libraries know no client but the default one.
			http.DefaultClient.Transport = redirect{to}
			t.Cleanup(func() { http.DefaultClient.Transport = nil })
			provider, err := dns.Resolve(name, p.settings)
			if err != nil {
				t.Fatal(err)
			}
			playProvider(t, f.zone, f.zone.solver(t, func(o *dns.Options) { o.Client = &http.Client{Transport: redirect{to}} }), provider)
		})
	}
}

// playProvider writes and removes values beside a foreign one.
func playProvider(t *testing.T, zone *fakeZone, s *dns.Solver, p ruche.DNSProvider) {
	t.Helper()
	foreign := "foreign-value"
	zone.change(apiName, func([]string) []string { return []string{foreign} })
	expect := func(when string, want ...string) {
		t.Helper()
		want = append(want, foreign)
		slices.Sort(want)
		if got := slices.Sorted(slices.Values(zone.values(apiName))); !slices.Equal(got, want) {
			t.Errorf("%s there are %q, want %q", when, got, want)
		}
	}
	for _, v := range []string{"value_1", "value-2", "value-2"} {
		if err := s.Present(t.Context(), p, apiName, v); err != nil {
			t.Fatal(err)
		}
	}
	expect("after two values, one of them twice,", "value_1", "value-2")
	for range 2 {
		if err := s.CleanUp(t.Context(), p, apiName, "value_1"); err != nil {
			t.Fatal(err)
		}
	}
	expect("after removing one twice", "value-2")
	if err := s.CleanUp(t.Context(), p, apiName, "value-2"); err != nil {
		t.Fatal(err)
	}
	expect("in the end")
	zone.change(apiName, func([]string) []string { return nil })
	if err := s.Present(t.Context(), p, apiName, "alone"); err != nil {
		t.Fatal(err)
	}
	if err := s.CleanUp(t.Context(), p, apiName, "alone"); err != nil {
		t.Fatal(err)
	}
	if got := zone.values(apiName); len(got) != 0 {
		t.Errorf("after the only value was removed there is %q", got)
	}
	for key, v := range p.Settings {
		if v == apiSecret {
			p.Settings[key] = apiSecret + "-that-is-wrong"
		}
	}
	err := s.Present(t.Context(), p, apiName, "v")
	if err == nil || strings.Contains(err.Error(), "that-is-wrong") {
		t.Errorf("with a wrong secret: %v", err)
	}
	if p.Name != "cloudflare" && p.Name != "infomaniak" && !strings.Contains(fmt.Sprint(err), "401") {
		t.Errorf("with a wrong secret: %v", err)
	}
}
