package lab

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// The images of a lab. Each holds one static binary and nothing else.
const (
	SiteImage    = "ruche-lab/site:latest"
	CheckedImage = "ruche-lab/checked:latest" // the site with a HEALTHCHECK
	RucheImage   = "ruche-lab/ruche:latest"
)

// images writes the archives that "docker load" takes, each once per lab. Safe for concurrent use.
type images struct {
	mu  sync.Mutex
	dir string
}

// imageConfig is the part of an image's configuration that the lab needs (OCI image specification, "Image
// Configuration", and Docker's Healthcheck).
type imageConfig struct {
	Entrypoint   []string            `json:"Entrypoint"`
	Cmd          []string            `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Healthcheck  *healthcheck        `json:"Healthcheck,omitempty"`
}

type healthcheck struct {
	Test []string `json:"Test"`
}

// LoadRuche gives the node an image of the built ruche.
func (n *Node) LoadRuche() {
	n.lab.t.Helper()
	n.lab.must(n.load(RucheImage))
	n.Docker("tag", RucheImage, NextRucheImage)
}

func (n *Node) load(image string) error {
	archive, err := n.lab.images.archive(image)
	if err != nil {
		return err
	}
	_, err = n.TryDocker("load", "--input", archive)
	return err
}

// archive returns the path of an image's archive and writes it when it is first asked for.
func (im *images) archive(image string) (string, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	binary, config, err := describe(image)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(im.dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the directory of image archives: %w", err)
	}
	path := filepath.Join(im.dir, strings.NewReplacer("/", "-", ":", "-").Replace(image)+".tar")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, writeImage(path, image, binary, config)
}

func describe(image string) (binary string, config imageConfig, err error) {
	port := func(ports ...string) map[string]struct{} {
		m := map[string]struct{}{}
		for _, p := range ports {
			m[p] = struct{}{}
		}
		return m
	}
	switch image {
	case SiteImage:
		return SiteBinary(), imageConfig{Entrypoint: []string{"/site"}, ExposedPorts: port("8080/tcp")}, nil
	case CheckedImage:
		return SiteBinary(), imageConfig{
			Entrypoint: []string{"/site"}, ExposedPorts: port("8080/tcp"),
			Healthcheck: &healthcheck{Test: []string{"CMD", "/site", "health"}},
		}, nil
	case RucheImage:
		return RucheBinary(), imageConfig{Entrypoint: []string{"/ruche"}, Cmd: []string{"up"}, ExposedPorts: port("80/tcp", "443/tcp")}, nil
	}
	return "", imageConfig{}, fmt.Errorf("cannot make image %q: the lab has no such image", image)
}

// writeImage writes an image of one file in the format of "docker save": manifest, configuration, one layer.
func writeImage(path, image, binary string, config imageConfig) error {
	content, err := os.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("cannot read the image's binary: %w; \"make build\" makes it", err)
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	if err := addFile(tw, filepath.Base(binary), content, 0o755); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("cannot write the layer of %s: %w", image, err)
	}
	sum := sha256.Sum256(layer.Bytes())
	configJSON, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return fmt.Errorf("cannot describe image %s: %w", image, err)
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": "config.json", "RepoTags": []string{image}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return fmt.Errorf("cannot describe image %s: %w", image, err)
	}
	var archive bytes.Buffer
	tw = tar.NewWriter(&archive)
	for _, f := range []struct {
		name    string
		content []byte
	}{{"manifest.json", manifest}, {"config.json", configJSON}, {"layer.tar", layer.Bytes()}} {
		if err := addFile(tw, f.name, f.content, 0o644); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("cannot write the archive of %s: %w", image, err)
	}
	if err := os.WriteFile(path, archive.Bytes(), 0o644); err != nil {
		return fmt.Errorf("cannot write the archive of %s: %w", image, err)
	}
	return nil
}

func addFile(tw *tar.Writer, name string, content []byte, mode int64) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return fmt.Errorf("cannot add %s to an image: %w", name, err)
	}
	if _, err := tw.Write(content); err != nil {
		return fmt.Errorf("cannot add %s to an image: %w", name, err)
	}
	return nil
}

// moduleDir is the root of the repository, found from this source file.
func moduleDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// RucheBinary is the path of the built ruche; RUCHE_BIN names another one.
func RucheBinary() string {
	if path := os.Getenv("RUCHE_BIN"); path != "" {
		return path
	}
	return filepath.Join(moduleDir(), "bin", "ruche")
}

// SiteBinary is the path of the built demo site.
func SiteBinary() string { return filepath.Join(moduleDir(), "bin", "site") }

// Build runs "make build", so that scenarios never run against yesterday's binary. With RUCHE_BIN only the site is built.
func Build() error {
	target := "build"
	if os.Getenv("RUCHE_BIN") != "" {
		target = "site"
	}
	cmd := exec.Command("make", "--silent", "--directory", moduleDir(), target)
	// Not those of a make that runs the tests: its flags are for its own targets.
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the binaries: %w:\n%s", err, out)
	}
	return nil
}
