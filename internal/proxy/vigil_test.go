package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ruche-project/ruche"
)

// mortal is a listener whose system can die without a goodbye: then its sockets take no packet any more, and acknowledge none.
type mortal struct {
	net.Listener
	url   string
	mu    sync.Mutex
	dead  bool
	conns []*net.TCPConn
}

func newMortal(t testing.TB) *mortal {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // whose sockets have no filters
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &mortal{Listener: l}
}

func (m *mortal) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = append(m.conns, c.(*net.TCPConn))
	if m.dead {
		err = shut(c.(*net.TCPConn), true)
	}
	return c, err
}

// die ends the system; live gives it back with all that it had.
func (m *mortal) die(t testing.TB)  { m.set(t, true) }
func (m *mortal) live(t testing.TB) { m.set(t, false) }

func (m *mortal) set(t testing.TB, dead bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead == dead {
		return
	}
	m.dead = dead
	if err := shut(m.Listener.(*net.TCPListener), dead); err != nil {
		t.Error(err)
	}
	for _, c := range m.conns {
		_ = shut(c, dead) // it may be closed
	}
}

// shut has a socket take no packet, or take them again.
func shut(s syscall.Conn, dead bool) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if !dead {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
			return
		}
		takeNothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &takeNothing})
	})
	return errors.Join(err, failed)
}

// serves has an endpoint that speaks a scheme served on the listener, and returns its URL.
func (m *mortal) serves(t testing.TB, scheme string, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close()
	s.Listener = m
	switch scheme {
	case ruche.SchemeH2C:
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	case ruche.SchemeHTTPS:
		s.StartTLS()
	default:
		s.Start()
	}
	t.Cleanup(s.Close)
	t.Cleanup(func() { m.live(t) })
	return speaks(scheme, s.URL)
}

// pair is a site of two endpoints, of which the one that is named mortal can die. Ruche has a connection to it that it may use again.
func pair(t *testing.T, run func(testing.TB, Config, ...ruche.Route) *rig, scheme string, h http.HandlerFunc) (*rig, *mortal) {
	m := newMortal(t)
	dies := m.serves(t, scheme, func(w http.ResponseWriter, r *http.Request) {
		if h != nil {
			h(w, r)
		}
		_, _ = io.WriteString(w, "mortal")
	})
	r := run(t, Config{Loops: 1}, site("a.test", says(t, "other"), dies))
	m.url = dies
	for seen := false; !seen; {
		_, body := r.get("http://a.test/")
		seen = body == "mortal"
	}
	return r, m
}

func (r *rig) ejected(url string) bool {
	for _, e := range r.Routes().Routes[0].Endpoints {
		if e.URL == url {
			return e.CoolingDown
		}
	}
	r.t.Fatalf("there is no endpoint %s", url)
	return false
}

// What asks an endpoint that has died without a goodbye is answered by another one, and nobody asks it any more.
func TestAnEndpointThatDiesWithoutAGoodbye(t *testing.T) {
	for _, tt := range []struct{ endpoint, url string }{
		{ruche.SchemeHTTP, "http://a.test/"},
		{ruche.SchemeHTTPS, "http://a.test/"},
		{ruche.SchemeH2C, "http://a.test/"},
		{ruche.SchemeHTTP, "https://a.test/"},
	} {
		t.Run(tt.endpoint+", asked by "+tt.url, func(t *testing.T) {
			run := start
			if by3 := strings.HasPrefix(tt.url, "https:"); by3 {
				run = startHTTP3 // which has an address of its own
			} else {
				t.Parallel()
			}
			r, m := pair(t, run, tt.endpoint, nil)
			m.die(t)
			ask := func() string {
				if strings.HasPrefix(tt.url, "https:") {
					_, body := r.answer3(r.request("GET", tt.url, nil))
					return body
				}
				_, body := r.get(tt.url)
				return body
			}
			for range 4 {
				if got := ask(); got != "other" {
					t.Errorf("answered by %q", got)
				}
			}
			if !r.ejected(m.url) {
				t.Error("it is not ejected")
			}
			until(t, "four requests are logged after those that found the endpoint", func() bool { return strings.Count(r.log.String(), "\n") >= 5 })
			if n := strings.Count(r.log.String(), `"retries":1`); n != 1 {
				t.Errorf("%d requests were sent twice, want one:\n%s", n, r.log)
			}
		})
	}
}

// A new connection is given up when nothing answers it; what nobody may repeat was not sent yet.
func TestAnEndpointThatTakesNoConnection(t *testing.T) {
	m := newMortal(t)
	dies := m.serves(t, ruche.SchemeHTTP, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "mortal") })
	r := start(t, Config{}, site("a.test", says(t, "other"), dies))
	m.die(t)
	for range 2 {
		if _, body := r.do(r.request("POST", "http://a.test/", strings.NewReader("x"))); body != "other" {
			t.Errorf("answered by %q", body)
		}
	}
	if !r.ejected(dies) {
		t.Error("it is not ejected")
	}
}

// What must not be repeated waits: the endpoint's system may have had a pause. Others stay away from it meanwhile.
func TestAPauseOfAnEndpoint(t *testing.T) {
	for _, method := range []string{"POST", "GET"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			r, m := pair(t, start, ruche.SchemeHTTP, nil)
			if method == "GET" { // then there must be nobody else
				r.serve(site("a.test", m.url))
			}
			m.die(t)
			answered := make(chan string)
			go func() {
				for body := ""; body != "mortal"; { // with two endpoints the other one may be next
					_, body = r.do(r.request(method, "http://a.test/", nil))
					answered <- body
				}
				close(answered)
			}()
			pause := func() bool {
				select {
				case <-answered:
				default:
				}
				return r.ejected(m.url)
			}
			until(t, "the endpoint is ejected", pause)
			m.live(t)
			for range answered {
			}
			if r.ejected(m.url) {
				t.Error("it has answered, and is ejected still")
			}
		})
	}
}

// An endpoint that has the request, and then takes its time or dies.
func TestSlowIsNotDead(t *testing.T) {
	t.Parallel()
	began, answer := make(chan struct{}), make(chan struct{})
	slow := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-answer
		_, _ = io.WriteString(w, "slow")
	})
	var dying *mortal
	r, dying := pair(t, start, ruche.SchemeHTTP, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/die" {
			dying.die(t)
			<-answer
		}
	})
	r.serve(site("a.test", says(t, "other"), dying.url), site("slow.test", slow, says(t, "other")))
	got := make(chan string, 2)
	go func() {
		for range 2 { // one of them goes to each endpoint
			_, body := r.get("http://slow.test/")
			got <- body
		}
	}()
	<-began
	for range 2 {
		if _, body := r.get("http://a.test/die"); body != "other" {
			t.Errorf("answered by %q", body)
		}
	}
	close(answer)
	if a, b := <-got, <-got; a != "slow" && b != "slow" {
		t.Errorf("answered by %q and %q", a, b)
	}
	for _, e := range r.Routes().Routes[1].Endpoints {
		if e.LastError != "" {
			t.Errorf("%s is blamed: %s", e.URL, e.LastError)
		}
	}
}

// Whether an endpoint is back is found out by a connection of Ruche's own.
func TestRucheKnocksAtWhatWasDead(t *testing.T) {
	t.Parallel()
	r, m := pair(t, start, ruche.SchemeHTTP, nil)
	m.die(t)
	var e *endpointState
	for _, state := range r.current.Load().routes[0].all {
		if state.url == m.url {
			e = state
		}
	}
	over := func() *ejection { // it was ejected, and its time is over
		ej := &ejection{until: 1, lost: true}
		e.failingSince.Store(1)
		e.ejection.Store(ej)
		return ej
	}
	ej := over()
	for range 2 {
		if _, body := r.get("http://a.test/"); body != "other" {
			t.Errorf("answered by %q", body)
		}
	}
	until(t, "the connection has not come about", func() bool { return e.ejection.Load() != ej && !e.knocking.Load() })
	if strings.Contains(r.log.String(), `"retries":1`) || !r.ejected(m.url) {
		t.Errorf("ejected: %v; want it to be, and no request to have met it:\n%s", r.ejected(m.url), r.log)
	}
	m.live(t)
	over()
	until(t, "it is back", func() bool {
		_, body := r.get("http://a.test/")
		return body == "mortal"
	})
}
