package config_test

import (
	"crypto/tls"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/config"
)

var update = flag.Bool("update", false, "write golden files anew")

func defaults(t *testing.T) config.Config {
	return config.Config{
		HTTPAddr: ":80", HTTPSAddr: ":443", AdminAddr: "127.0.0.1:8900",
		DataDir: "/var/lib/ruche", CertsDir: "/etc/nginx/certs", RoutesDir: "/etc/ruche/routes.d",
		JoinTokenFile: "/run/secrets/ruche-join", SealKeyFile: "/run/secrets/ruche-seal", MeshAddr: ":8901", PeerAddr: ":8902", CAAddr: "off", DockerTLSAddr: "off",
		LogLevel: slog.LevelInfo, LogFormat: "text", AccessLog: "stdout",
		MinTLS: tls.VersionTLS12, UnknownHostStatus: 503, MaxConnectionsPerAddress: 1024, Hold: 5 * time.Second, DrainTimeout: 30 * time.Second,
		Issuers: []config.Issuer{{Issuer: ruche.Issuer{Name: "default", Directory: ruche.LetsEncrypt, KeyType: ruche.KeyP256}}},
	}
}

func TestLoadDefaults(t *testing.T) {
	got, err := config.Load(nil, []string{"PATH=/bin", "RUCHE=1", "VIRTUAL_HOST=a"})
	if err != nil {
		t.Fatal(err)
	}
	if want := defaults(t); !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
}

func TestLoadPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ruche.yaml")
	const yaml = "http-addr: :1\nhttps-addr: :1\nadmin-addr: :1\ntrusted-proxies: [10.1.2.3/8, '::1']\nmax-body-size: 10\nno-docker: true\n"
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	want := defaults(t)
	want.HTTPAddr, want.HTTPSAddr, want.AdminAddr = ":1", ":2", ":3"
	want.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	want.MaxBodyBytes, want.NoDocker = 10, true

	env := []string{"RUCHE_HTTPS_ADDR=:2", "RUCHE_ADMIN_ADDR=:2", "RUCHE_CONFIG=" + file}
	got, err := config.Load(map[string]string{"admin-addr": ":3"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
	// The flag names the file as well, over the variable.
	got, err = config.Load(map[string]string{"config": file, "no-docker": "false"}, []string{"RUCHE_CONFIG=/missing"})
	if err != nil || got.HTTPSAddr != ":1" || got.NoDocker {
		t.Errorf("with --config: %+v, %v", got, err)
	}
}

func TestLoadGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yml")
	if err != nil || len(files) < 4 {
		t.Fatalf("good files are %v, %v", files, err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			if _, err := config.Load(map[string]string{"config": f}, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLoadBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) < 15 {
		t.Fatalf("bad files are %v, %v", files, err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			_, err := config.Load(map[string]string{"config": f}, nil)
			if err == nil {
				t.Fatal("the file was taken")
			}
			golden(t, strings.TrimSuffix(f, ".yml")+".err", strings.ReplaceAll(err.Error(), "testdata/bad/", "")+"\n")
		})
	}
}

// golden compares got with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot\n%s\nwant\n%s", path, got, want)
	}
}

func TestLoadReportsAllMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ruche.yaml")
	if err := os.WriteFile(file, []byte("\nhttp-adr: :1\nlog-level: loud\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(
		map[string]string{"config": file, "drain-timeout": "30", "nonsense": ""},
		[]string{"RUCHE_HTTP_ADR=:1", "RUCHE_HTTP_ADDR=80", "RUCHE_ACCESS_LOG=of"})
	want := file + `:2:1: unknown key "http-adr" (did you mean "http-addr"?)
` + file + `:3:1: log-level: expected debug, info, warn or error, found "loud"
env RUCHE_HTTP_ADR: there is no such setting (did you mean "RUCHE_HTTP_ADDR"?)
env RUCHE_HTTP_ADDR: "80" is not an address: write ":80"
env RUCHE_ACCESS_LOG: expected stdout, off or the path of a file, found "of": write "./of" for a file of that name
flag --nonsense: there is no such setting
flag --drain-timeout: "30" has no unit: write "30s" for seconds`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, err := config.Load(map[string]string{"config": "/missing.yaml"}, nil); err == nil ||
		err.Error() != "cannot read the configuration file: open /missing.yaml: no such file or directory" {
		t.Errorf("with a missing file: %v", err)
	}
}

func TestValues(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		get         func(*config.Config) any
		want        any
	}{
		{"max-body-size", "512k", func(c *config.Config) any { return c.MaxBodyBytes }, int64(512 << 10)},
		{"max-body-size", "10M", func(c *config.Config) any { return c.MaxBodyBytes }, int64(10 << 20)},
		{"max-body-size", "1 GiB", func(c *config.Config) any { return c.MaxBodyBytes }, int64(1 << 30)},
		{"max-body-size", "3KiB", func(c *config.Config) any { return c.MaxBodyBytes }, int64(3 << 10)},
		{"http-addr", "off", func(c *config.Config) any { return c.HTTPAddr }, config.Off},
		{"http-addr", "[::1]:8080", func(c *config.Config) any { return c.HTTPAddr }, "[::1]:8080"},
		{"docker-host", "tcp://10.0.0.1:2375", func(c *config.Config) any { return c.DockerHost }, "tcp://10.0.0.1:2375"},
		{"access-log", "/var/log/ruche.log", func(c *config.Config) any { return c.AccessLog }, "/var/log/ruche.log"},
		{"trusted-proxies", "10.0.0.1, ::ffff:10.0.0.2", func(c *config.Config) any { return c.TrustedProxies },
			[]netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/32")}},
		{"trusted-proxies", "", func(c *config.Config) any { return len(c.TrustedProxies) }, 0},
		{"edge-networks", "public, web_default", func(c *config.Config) any { return c.EdgeNetworks }, []string{"public", "web_default"}},
		{"edge-networks", " ", func(c *config.Config) any { return len(c.EdgeNetworks) }, 0},
		{"proxy-protocol", "10.0.0.0/8", func(c *config.Config) any { return c.ProxyProtocol }, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		{"http3", "on", func(c *config.Config) any { return c.HTTP3 }, true},
		{"ech-public-name", "Ech.Example.", func(c *config.Config) any { return c.ECHPublicName }, "ech.example"},
		{"tls-min-version", "1.3", func(c *config.Config) any { return c.MinTLS }, uint16(tls.VersionTLS13)},
		{"http3", "off", func(c *config.Config) any { return c.HTTP3 }, false},
		{"max-connections", "20000", func(c *config.Config) any { return c.MaxConnections }, 20000},
		{"max-connections-per-address", "0", func(c *config.Config) any { return c.MaxConnectionsPerAddress }, 0},
		{"entry-points", "postgres=:5432, my-sql=[::1]:3306", func(c *config.Config) any { return c.EntryPoints },
			[]config.EntryPoint{{Name: "postgres", Address: ":5432"}, {Name: "my-sql", Address: "[::1]:3306"}}},
		{"entry-points", "dns=:53/udp,vpn=:51820/udp/2m,smtp=:25/tcp", func(c *config.Config) any { return c.EntryPoints },
			[]config.EntryPoint{{Name: "dns", Address: ":53", UDP: true}, {Name: "vpn", Address: ":51820", UDP: true, Idle: 2 * time.Minute}, {Name: "smtp", Address: ":25"}}},
		{"control", "10.0.0.1, m2.example,[::1]:9, fd00::2", func(c *config.Config) any { return c.Control },
			[]string{"10.0.0.1:8901", "m2.example:8901", "[::1]:9", "[fd00::2]:8901"}},
		{"advertise-addr", "[fd00::1]", func(c *config.Config) any { return c.AdvertiseAddr }, "fd00::1"},
		{"bootstrap", "true", func(c *config.Config) any { return c.Bootstrap }, true},
		{"ca-url", "http://ca.example/", func(c *config.Config) any { return c.CAURL }, "http://ca.example"},
		{"docker-tls-names", "docker.example, 192.0.2.1", func(c *config.Config) any { return c.DockerTLSNames }, []string{"docker.example", "192.0.2.1"}},
		{"hold", "0", func(c *config.Config) any { return c.Hold }, time.Duration(0)},
		{"hold", "750ms", func(c *config.Config) any { return c.Hold }, 750 * time.Millisecond},
		{"drain-timeout", "0", func(c *config.Config) any { return c.DrainTimeout }, time.Duration(0)},
		{"drain-timeout", "2m", func(c *config.Config) any { return c.DrainTimeout }, 2 * time.Minute},
		{"log-level", "debug", func(c *config.Config) any { return c.LogLevel }, slog.LevelDebug},
		{"log-format", "json", func(c *config.Config) any { return c.LogFormat }, config.LogJSON},
		{"unknown-host-status", "404", func(c *config.Config) any { return c.UnknownHostStatus }, 404},
		{"node-name", "web_1.example", func(c *config.Config) any { return c.NodeName }, "web_1.example"},
	} {
		t.Run(tc.name+"="+tc.value, func(t *testing.T) {
			c, err := config.Load(map[string]string{tc.name: tc.value}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := tc.get(c); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSettingsAreDescribed(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range config.Settings() {
		if seen[s.Name] || s.Name == "" || !strings.HasSuffix(s.Help, ".") || strings.Contains(s.Help, "|") {
			t.Errorf("setting %+v: want a name of its own and a help sentence", s)
		}
		seen[s.Name] = true
	}
}

// TestReference holds the page of settings against the table; -update writes the table into it.
func TestReference(t *testing.T) {
	const page, marker = "../../docs/config.md", "<!-- the table below is written by `go test ./internal/config -update` -->\n\n"
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	intro, _, found := strings.Cut(string(data), marker)
	if !found {
		t.Fatalf("%s has no line %q", page, marker)
	}
	golden(t, page, intro+marker+config.Reference())
}

func FuzzLoadFile(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yml", "testdata/bad/*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	file := filepath.Join(f.TempDir(), "ruche.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(map[string]string{"config": file}, nil)
		if (c == nil) == (err == nil) {
			t.Errorf("Load = %v, %v", c, err)
		}
	})
}
