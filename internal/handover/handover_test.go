package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// old is a running process that can be asked to hand over.
type old struct {
	t        *testing.T
	dir      string
	sockets  *Sockets
	upgrades *net.UnixListener
}

func start(t *testing.T, addresses ...string) *old {
	t.Helper()
	// Longer than the address of a unix socket may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	o := &old{t: t, dir: dir, sockets: NewSockets()}
	t.Cleanup(o.sockets.Close)
	for i, address := range addresses {
		listen(t, o.sockets, fmt.Sprintf("role-%d", i), address)
	}
	var err error
	if o.upgrades, err = o.sockets.Upgrades(dir); err != nil {
		t.Fatal(err)
	}
	return o
}

func listen(t *testing.T, s *Sockets, name, address string) *net.TCPListener {
	t.Helper()
	l, err := s.Listen(name, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// meet runs what the old process does with the next that asks.
func (o *old) meet(do func(s *Successor) error) <-chan error {
	done := make(chan error, 1)
	go func() {
		c, err := o.upgrades.AcceptUnix()
		if err != nil {
			done <- err
			return
		}
		s, err := Meet(c, "old")
		if err == nil {
			defer s.Close()
			err = do(s)
		}
		done <- err
	}()
	return done
}

func (o *old) give(ctx context.Context, limit time.Duration) func(s *Successor) error {
	return func(s *Successor) error {
		if err := s.Give(o.sockets); err != nil {
			return err
		}
		return s.Await(ctx, limit)
	}
}

func ask(t *testing.T, dir string) *Predecessor {
	t.Helper()
	p, err := Ask(t.Context(), dir, "new")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		p.Sockets().Close()
	})
	return p
}

// accepts checks that connections to the address arrive at the listener.
func accepts(t *testing.T, l *net.TCPListener, address string) {
	t.Helper()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "word")
			_ = c.Close()
		}
	}()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if got, err := io.ReadAll(c); err != nil || string(got) != "word" {
		t.Errorf("%s says %q, %v", address, got, err)
	}
}

func TestSocketsOutliveTheProcessThatOpenedThem(t *testing.T) {
	o := start(t, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0")
	addresses := make([]string, 3)
	for i := range addresses {
		addresses[i] = o.sockets.used[i].socket.(*net.TCPListener).Addr().String()
	}
	done := o.meet(o.give(t.Context(), time.Minute))
	p := ask(t, o.dir)
	if p.PID != os.Getpid() || p.Version != "old" {
		t.Errorf("the other process is %s, want this one, version old", p.Process)
	}
	same := listen(t, p.Sockets(), "role-1", "127.0.0.1:0")
	moved := listen(t, p.Sockets(), "another role", addresses[2])
	fresh := listen(t, p.Sockets(), "fresh", "127.0.0.1:0")
	upgrades, err := p.Sockets().Upgrades(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	p.Sockets().DropUnused()
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	o.sockets.Close()
	accepts(t, same, addresses[1])
	accepts(t, moved, addresses[2])
	accepts(t, fresh, fresh.Addr().String())
	if c, err := net.Dial("tcp", addresses[0]); err == nil {
		_ = c.Close()
		t.Errorf("%s is still open, though nobody wants it any more", addresses[0])
	}
	// And so on: the next one asks at the same place.
	next := &old{t: t, dir: o.dir, sockets: p.Sockets(), upgrades: upgrades}
	done = next.meet(next.give(t.Context(), time.Minute))
	second := ask(t, o.dir)
	accepts(t, listen(t, second.Sockets(), "role-1", "127.0.0.1:0"), addresses[1])
	if err := errors.Join(second.Ready(t.Context()), <-done); err != nil {
		t.Error(err)
	}
}

// heir is what tells this program that it is the other process of the test below, which has the socket as descriptor 3.
const heir = "RUCHE_TEST_HEIR"

// After a chain of upgrades the socket was made by a process that is gone: who has it now is to be named.
func TestTheProcessThatAnswersIsNamed(t *testing.T) {
	if os.Getenv(heir) != "" {
		refuseAsHeir(t)
		return
	}
	dir := t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheProcessThatAnswersIsNamed$")
	cmd.Env = append(os.Environ(), heir+"=1")
	cmd.ExtraFiles = []*os.File{socket}
	if err := errors.Join(cmd.Start(), socket.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("cannot take over from process %d (version old): %s: not now", cmd.Process.Pid, ErrRefused)
	if _, err := Ask(t.Context(), dir, "new"); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func refuseAsHeir(t *testing.T) {
	l, err := net.FileListener(os.NewFile(3, "upgrades"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.(*net.UnixListener).AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Meet(c, "old")
	if err != nil {
		t.Fatal(err)
	}
	s.Refuse("not now")
	s.Close()
}

func TestWhatUDPComesToIsHandedOver(t *testing.T) {
	o := start(t)
	first, err := o.sockets.ListenUDP("udp:dns", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := o.meet(o.give(t.Context(), time.Minute))
	p := ask(t, o.dir)
	moved, err := p.Sockets().ListenUDP("udp:names", first.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	listener := listen(t, p.Sockets(), "tcp:names", "127.0.0.1:0")
	if err := errors.Join(p.Ready(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	o.sockets.Close()
	accepts(t, listener, listener.Addr().String())
	c, err := net.Dial("udp", moved.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "hello")
	b := make([]byte, 10)
	_ = moved.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := moved.Read(b); err != nil || string(b[:n]) != "hello" || moved.LocalAddr().String() != first.LocalAddr().String() {
		t.Errorf("the new process got %q at %s, %v", b[:n], moved.LocalAddr(), err)
	}
}

func TestManySocketsNeedSeveralPackets(t *testing.T) {
	addresses := make([]string, 2*maxSockets+3)
	for i := range addresses {
		addresses[i] = "127.0.0.1:0"
	}
	o := start(t, addresses...)
	done := o.meet(o.give(t.Context(), time.Minute))
	p := ask(t, o.dir)
	if n := len(p.sockets.inherited); n != len(addresses)+1 {
		t.Errorf("%d sockets came, want %d", n, len(addresses)+1)
	}
	if err := errors.Join(p.Ready(t.Context()), <-done); err != nil {
		t.Error(err)
	}
}

func TestASocketFitsWhatListensThere(t *testing.T) {
	cases := []struct {
		have, want string
		fits       bool
	}{
		{"0.0.0.0:80", "0.0.0.0:80", true},
		{"[::]:80", ":80", true},
		{"[::]:80", "[::]:80", true},
		{"127.0.0.1:80", "localhost:80", true},
		{"0.0.0.0:80", ":80", false},
		{"127.0.0.1:80", ":80", false},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"127.0.0.1:80", "127.0.0.1:0", false},
	}
	for _, c := range cases {
		have, err := net.ResolveTCPAddr("tcp", c.have)
		if err != nil {
			t.Fatal(err)
		}
		want, err := net.ResolveTCPAddr("tcp", c.want)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameAddress(have.AddrPort(), want.AddrPort()); got != c.fits {
			t.Errorf("a socket at %s fits %s: %v, want %v", c.have, c.want, got, c.fits)
		}
	}
}

func TestNobodyIsThereToAsk(t *testing.T) {
	o := start(t)
	for name, dir := range map[string]string{"an empty directory": t.TempDir(), "what a killed process left": o.dir} {
		if dir == o.dir {
			_ = o.upgrades.Close()
		}
		if _, err := Ask(t.Context(), dir, "new"); !errors.Is(err, ErrNobody) {
			t.Errorf("%s: Ask() = %v, want ErrNobody", name, err)
		}
	}
	l, err := Listen(o.dir)
	if err != nil {
		t.Fatalf("the next one cannot listen there: %v", err)
	}
	defer func() { _ = l.Close() }()
	if info, err := os.Stat(filepath.Join(o.dir, socketName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v, want mode 0600", info.Mode(), err)
	}
}

func TestAProcessThatDoesNotFitIsRefused(t *testing.T) {
	cases := []struct {
		name  string
		hello message
		want  []string
	}{
		{"another protocol", message{Kind: kindHello, Protocol: 99, Version: "9.9"},
			[]string{"protocol 1", "protocol 99", "version old", "version 9.9", "stop this one"}},
		{"another network", message{Kind: kindHello, Protocol: Protocol, Version: "9.9", Network: "net:[1]"},
			[]string{"another network", "stop this one", "host's network"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := start(t)
			done := o.meet(func(*Successor) error { return nil })
			conn, err := dial(o.dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.unix.Close() }()
			if err := conn.send(c.hello); err != nil {
				t.Fatal(err)
			}
			m, _, err := conn.receive(time.Now().Add(time.Minute))
			if err != nil || m.Kind != kindRefuse {
				t.Fatalf("the answer is %+v, %v, want a refusal", m, err)
			}
			refused := <-done
			if refused == nil {
				t.Fatal("Meet() says nothing")
			}
			for _, want := range c.want {
				if !strings.Contains(refused.Error(), want) || !strings.Contains(m.Reason, want) {
					t.Errorf("%q and %q do not both say %q", refused, m.Reason, want)
				}
			}
		})
	}
}

func TestWhatIsSaidOutOfPlaceEndsTheConversation(t *testing.T) {
	for name, packet := range map[string]string{"no message": "hello?", "another kind": `{"kind":"ready"}`} {
		o := start(t)
		done := o.meet(func(*Successor) error { return nil })
		c, err := dial(o.dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.unix.Write([]byte(packet)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil || !strings.Contains(err.Error(), "cannot understand") {
			t.Errorf("%s: Meet() = %v, want an error", name, err)
		}
		_ = c.unix.Close()
	}
}

func TestARefusalSaysWhy(t *testing.T) {
	o := start(t)
	done := o.meet(func(s *Successor) error {
		s.Refuse("not today")
		return nil
	})
	if _, err := Ask(t.Context(), o.dir, "new"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not today") {
		t.Errorf("Ask() = %v, want ErrRefused and why", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAProcessThatDiesBeforeItIsReadyTakesNothing(t *testing.T) {
	o := start(t, "127.0.0.1:0")
	done := o.meet(o.give(t.Context(), time.Minute))
	p := ask(t, o.dir)
	p.Sockets().Close()
	p.Close()
	if err := <-done; !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "version new") {
		t.Errorf("the old one says %v, want ErrGone and who", err)
	}
	l := o.sockets.used[0].socket.(*net.TCPListener)
	accepts(t, l, l.Addr().String())
}

func TestAProcessThatIsNeverReadyIsToldToEnd(t *testing.T) {
	o := start(t)
	done := o.meet(o.give(t.Context(), time.Millisecond))
	p := ask(t, o.dir)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "not ready after 1ms") {
		t.Errorf("the old one says %v, want that it waits no longer", err)
	}
	<-p.Aborted()
	if err := p.Ready(t.Context()); !errors.Is(err, ErrAborted) {
		t.Errorf("Ready() = %v, want ErrAborted", err)
	}
}

func TestAProcessWhosePredecessorEndsGoesOnAlone(t *testing.T) {
	o := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := o.meet(o.give(ctx, time.Minute))
	p := ask(t, o.dir)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the old one says %v, want that it ends", err)
	}
	if err := p.Ready(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("Ready() = %v, want ErrGone", err)
	}
	select {
	case <-p.Aborted():
		t.Error("it was told to end")
	default:
	}
}
