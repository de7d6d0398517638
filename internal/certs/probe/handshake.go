package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// The protocols in which TLS begins by a command.
const (
	startSMTP = "smtp" // RFC 3207
	startIMAP = "imap" // RFC 9051 section 6.2.1
)

// shaken is what came of a handshake.
type shaken struct {
	tls.ConnectionState
	asked bool // the server asked for a client's certificate
}

// dial connects, and goes on to where TLS begins.
func (p *prober) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: p.Timeout}).DialContext(ctx, "tcp", p.address())
	if err != nil {
		return nil, err
	}
	p.result.Address = conn.RemoteAddr().String()
	err = conn.SetDeadline(time.Now().Add(p.Timeout))
	if err == nil && len(p.Preface) > 0 {
		_, err = conn.Write(p.Preface)
	}
	if err == nil {
		err = startTLS(conn, p.target.StartTLS)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// client begins TLS. The certificate is looked at later: a bad one is what is asked about.
func (p *prober) client(ctx context.Context, cfg *tls.Config) (_ *tls.Conn, asked bool, err error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return nil, false, err
	}
	cfg.InsecureSkipVerify, cfg.Time = true, p.Now
	if net.ParseIP(p.target.ServerName) == nil { // RFC 6066 section 3 has no addresses
		cfg.ServerName = p.target.ServerName
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		return new(tls.Certificate), nil
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, asked, err
	}
	return secure, asked, nil
}

// handshake makes one and ends the connection.
func (p *prober) handshake(ctx context.Context, cfg *tls.Config) (*shaken, error) {
	conn, asked, err := p.client(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	state := conn.ConnectionState()
	if len(state.PeerCertificates) == 0 {
		return nil, errors.New("the server showed no certificate")
	}
	return &shaken{state, asked}, nil
}

// secondTry accepts what no client of today does, so that the certificate of an old server can be looked at all the same.
func (p *prober) secondTry(ctx context.Context, why error) (*shaken, error) {
	got, err := p.handshake(ctx, p.only(tls.VersionTLS10, tls.VersionTLS13))
	if err != nil {
		return nil, why
	}
	p.add(checkConnection, ruche.LevelError, "let the server accept TLS 1.2 and 1.3 with ciphers of today", "clients of today are refused: %v", why)
	return got, nil
}

// only offers some versions, with every cipher that is known, also those that are weak.
func (p *prober) only(from, to uint16) *tls.Config {
	cfg := &tls.Config{MinVersion: from, MaxVersion: to, NextProtos: p.protocols()}
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, suite := range list {
			cfg.CipherSuites = append(cfg.CipherSuites, suite.ID)
		}
	}
	return cfg
}

// firstSession keeps one session, and tells when it has one.
type firstSession struct {
	state *tls.ClientSessionState
	there chan struct{}
}

func (s *firstSession) Get(string) (*tls.ClientSessionState, bool) { return s.state, s.state != nil }

func (s *firstSession) Put(_ string, state *tls.ClientSessionState) {
	if s.state == nil && state != nil {
		s.state = state
		close(s.there)
	}
}

// ticketWait is how long a server may take to hand out a ticket after the handshake.
const ticketWait = time.Second

// resumes reports whether a second connection goes on with the session of a first one.
func (p *prober) resumes(ctx context.Context) bool {
	cache := &firstSession{there: make(chan struct{})}
	conn, _, err := p.client(ctx, &tls.Config{ClientSessionCache: cache, NextProtos: p.protocols()})
	if err != nil {
		return false
	}
	// By TLS 1.3 the ticket comes after the handshake, and is taken in by reading.
	_ = conn.SetReadDeadline(time.Now().Add(ticketWait))
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = conn.Read(make([]byte, 1))
	}()
	select {
	case <-cache.there:
	case <-read:
	}
	_ = conn.Close()
	<-read
	if cache.state == nil {
		return false
	}
	again, err := p.handshake(ctx, &tls.Config{ClientSessionCache: cache, NextProtos: p.protocols()})
	return err == nil && again.DidResume
}

// startTLS says what makes a server of another protocol begin TLS.
func startTLS(conn net.Conn, protocol string) error {
	if protocol == "" {
		return nil
	}
	r := bufio.NewReaderSize(conn, 1024)
	if err := ask(conn, r, protocol); err != nil {
		return err
	}
	if r.Buffered() > 0 { // nothing of TLS comes before the client has begun it
		return errors.New("the mail server says more than it was asked")
	}
	return nil
}

func ask(conn net.Conn, r *bufio.Reader, protocol string) error {
	switch protocol {
	case startSMTP:
		for _, step := range []struct{ say, want string }{{"", "220"}, {"EHLO ruche.invalid\r\n", "250"}, {"STARTTLS\r\n", "220"}} {
			if err := say(conn, step.say); err != nil {
				return err
			}
			if err := smtpReply(r, step.want); err != nil {
				return err
			}
		}
		return nil
	case startIMAP:
		if err := imapReply(r, "* "); err != nil {
			return err
		}
		if err := say(conn, "r1 STARTTLS\r\n"); err != nil {
			return err
		}
		return imapReply(r, "r1 ")
	}
	return fmt.Errorf("TLS after a command is known for smtp and imap, not for %q", protocol)
}

func say(conn net.Conn, text string) error {
	if text == "" {
		return nil
	}
	_, err := conn.Write([]byte(text))
	return err
}

// maxLines bounds an answer.
const maxLines = 100

// smtpReply reads an answer of some lines with one code (RFC 5321 section 4.2.1).
func smtpReply(r *bufio.Reader, code string) error {
	for range maxLines {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, code) {
			return fmt.Errorf("the mail server answers %.100q", line)
		}
		if !strings.HasPrefix(line, code+"-") {
			return nil
		}
	}
	return errors.New("the mail server's answer does not end")
}

// imapReply reads up to the answer with a tag.
func imapReply(r *bufio.Reader, tag string) error {
	for range maxLines {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(line, tag); ok {
			if strings.HasPrefix(strings.ToUpper(rest), "OK") || strings.HasPrefix(strings.ToUpper(rest), "PREAUTH") {
				return nil
			}
			return fmt.Errorf("the mail server answers %.100q", line)
		}
	}
	return errors.New("the mail server's answer does not end")
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", fmt.Errorf("the mail server's answer cannot be read: %w", err)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}
