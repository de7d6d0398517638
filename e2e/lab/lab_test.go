package lab

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestStartTimeTellsProcessesApart(t *testing.T) {
	own, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !alive(os.Getpid(), own) {
		t.Error("this process is taken for dead")
	}
	if alive(os.Getpid(), own+1) {
		t.Error("a process of another start time is taken for this one")
	}
}

func TestLedgerSurvivesATornLine(t *testing.T) {
	dir := t.TempDir()
	l, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.add(record{Kind: recordNamespace, Name: "x"}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"kind":"proc`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	records, err := readLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 2 || records[0].PID != os.Getpid() || records[1].Name != "x" {
		t.Errorf("got %+v, want the owner and the namespace", records)
	}
}

func TestImageHoldsTheBinaryAlone(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "tool")
	if err := os.WriteFile(binary, []byte("content"), 0o755); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "image.tar")
	if err := writeImage(archive, "a/b:latest", binary, imageConfig{Entrypoint: []string{"/tool"}}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names, files := untar(t, f)
	if want := []string{"manifest.json", "config.json", "layer.tar"}; !slices.Equal(names, want) {
		t.Errorf("the archive holds %v, want %v", names, want)
	}
	if layer, files := untar(t, strings.NewReader(files["layer.tar"])); !slices.Equal(layer, []string{"tool"}) || files["tool"] != "content" {
		t.Errorf("the layer holds %v, want the binary", layer)
	}
}

func untar(t *testing.T, r io.Reader) (names []string, files map[string]string) {
	t.Helper()
	files = map[string]string{}
	for tr := tar.NewReader(r); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names, files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		files[header.Name] = string(content)
	}
}

func TestLoadCountsWhatFails(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1)%10 == 0 {
			http.Error(w, "out of tea", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	c := &Client{t: t, http: server.Client()}
	load := c.StartLoad(server.URL, 200)
	<-load.UnderWay()
	err := load.End()
	all := int(asked.Load())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d of %d requests", all/10, all)) || !strings.Contains(err.Error(), fmt.Sprintf("%d x status 503", all/10)) ||
		!strings.Contains(err.Error(), "out of tea") {
		t.Errorf("got %v, want every tenth of %d with status 503 and an example", err, all)
	}

	server.Close()
	load = c.StartLoad(server.URL, 200)
	if err := load.End(); err == nil || !strings.Contains(err.Error(), "x cannot dial") || load.Failed() == 0 {
		t.Errorf("got %v, want failures to dial", err)
	}
}
