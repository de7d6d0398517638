package cluster_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/fsx"
)

// backup takes a backup of a member with one note, "kept".
func backup(t testing.TB) []byte {
	t.Helper()
	c := open(t, cluster.Config{Dir: t.TempDir()})
	must[int64](t)(cluster.NewBucket[note](c, "notes").Put(t.Context(), "a", note{Text: "kept"}))
	var b bytes.Buffer
	must[cluster.Backup](t)(c.Backup(t.Context(), &b))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestABackupBecomesANewMember(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	notes := cluster.NewBucket[note](c, "notes")
	for i := range 300 { // of which the snapshot has more than a page
		must[int64](t)(notes.Put(t.Context(), fmt.Sprint(i), note{Text: strings.Repeat("x", 1000), N: i}))
	}
	var taken bytes.Buffer
	info := must[cluster.Backup](t)(c.Backup(t.Context(), &taken))
	last := must[int64](t)(notes.Put(t.Context(), "later", note{}))
	if info.Member != "node-1" || info.Cluster == "" || info.Revision != last-1 || info.Taken.IsZero() {
		t.Errorf("the backup says %+v, want the member, the cluster and the revision %d", info, last-1)
	}
	if got, err := cluster.CheckBackup(iotest.OneByteReader(bytes.NewReader(taken.Bytes()))); err != nil || got != info {
		t.Errorf("CheckBackup = %+v, %v, want %+v", got, err, info)
	}

	dir := filepath.Join(t.TempDir(), "new", "cluster")
	cfg := cluster.Config{Dir: dir, Name: "other", Logger: quiet()}
	if got, err := cluster.Restore(cfg, bytes.NewReader(taken.Bytes())); err != nil || got != info {
		t.Fatalf("Restore = %+v, %v", got, err)
	}
	if _, err := cluster.Restore(cfg, bytes.NewReader(taken.Bytes())); err == nil || !strings.Contains(err.Error(), "it has data, which is not overwritten") {
		t.Errorf("a second Restore = %v, want a refusal", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("the directory holds %v, %v, want the lock and the member", files, err)
	}

	restored := open(t, cfg)
	again := cluster.NewBucket[note](restored, "notes")
	all, err := again.List(t.Context())
	if err != nil || len(all) != 300 || all["299"].Value.N != 299 {
		t.Errorf("%d notes were restored, %v, want 300", len(all), err)
	}
	// Who compares revisions, as with a leader's token, never sees one twice.
	if rev := must[int64](t)(again.Put(t.Context(), "new", note{})); rev <= last {
		t.Errorf("the revision after a restore is %d, want more than %d", rev, last)
	}
	updates := watching(t, again)
	if u := next(t, updates); len(u.Puts) != 301 {
		t.Errorf("a watch begins with %d notes", len(u.Puts))
	}
	members := must[[]cluster.Member](t)(restored.Members(t.Context()))
	if len(members) != 1 || members[0].Name != "other" || !members[0].Healthy {
		t.Errorf("the restored members are %+v", members)
	}
	var second bytes.Buffer
	if again := must[cluster.Backup](t)(restored.Backup(t.Context(), &second)); again.Cluster == info.Cluster {
		t.Error("the restored cluster has the ID of the old one: members of both could take each other for their own")
	}
}

func TestRestoreRefusesWhatIsNoWholeBackup(t *testing.T) {
	whole := backup(t)
	changed := bytes.Clone(whole)
	changed[len(changed)/2] ^= 1
	// The checksum fits, but what it is of is no database.
	fake := []byte(`{"format":"ruche-state","version":1}` + "\n" + strings.Repeat("no database ", 1000))
	sum := sha256.Sum256(fake)
	fake = append(fake, sum[:]...)
	held := t.TempDir()
	open(t, cluster.Config{Dir: held})
	for _, tc := range []struct {
		name, want string
		dir        string
		data       []byte
	}{
		{name: "nothing", want: "no first line"},
		{name: "something else", data: []byte("hello\nworld"), want: "does not say so"},
		{name: "other JSON", data: []byte("{}\n" + strings.Repeat("x", 100)), want: "does not say so"},
		{name: "a newer form", data: []byte(`{"format":"ruche-state","version":2}` + "\n"), want: "cannot read backups of version 2"},
		{name: "the first line alone", data: whole[:bytes.IndexByte(whole, '\n')+1], want: "ends too early"},
		{name: "cut off", data: whole[:len(whole)-1], want: "checksum is wrong"},
		{name: "half", data: whole[:len(whole)/2], want: "checksum is wrong"},
		{name: "a changed bit", data: changed, want: "checksum is wrong"},
		{name: "more after it", data: append(bytes.Clone(whole), 'x'), want: "checksum is wrong"},
		{name: "no database", data: fake, want: "snapshot missing hash"},
		{name: "a member is open", data: whole, dir: held, want: "in use"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := tc.dir
			if dir == "" {
				dir = t.TempDir()
			}
			_, err := cluster.Restore(cluster.Config{Dir: dir, Name: "n", Logger: quiet()}, bytes.NewReader(tc.data))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Restore = %v, want %q", err, tc.want)
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "restore-*")); len(files) > 0 || (tc.dir == "" && exists(filepath.Join(dir, "member"))) {
				t.Errorf("it left %v behind", files)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestBackupFailsWithItsWriter(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	broken := errors.New("broken")
	for n := range 3 {
		if _, err := c.Backup(t.Context(), &failing{after: n, err: broken}); !errors.Is(err, broken) {
			t.Errorf("after %d writes: %v, want what the writer says", n, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Backup(t.Context(), io.Discard); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Backup after Close = %v", err)
	}
}

type failing struct {
	after int
	err   error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, f.err
	}
	return len(p), nil
}

func FuzzCheckBackup(f *testing.F) {
	f.Add(backup(f))
	f.Add([]byte(`{"format":"ruche-state","version":1}` + "\n" + strings.Repeat("x", 32)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := cluster.CheckBackup(bytes.NewReader(data)); err == nil {
			n := len(data) - sha256.Size
			if sha256.Sum256(data[:n]) != [sha256.Size]byte(data[n:]) {
				t.Error("a wrong checksum was taken")
			}
		}
	})
}

// The drill of docs/state.md for a majority that is lost for good.
func TestTheLastMemberBecomesAClusterOfItsOwn(t *testing.T) {
	t.Parallel()
	s := three(t)
	one, two, last := s.nodes[0], s.nodes[1], s.nodes[2]
	must[int64](t)(cluster.NewBucket[note](one.c, "notes").Put(t.Context(), "second", note{N: 2}))
	updates := watching(t, cluster.NewBucket[note](last.c, "notes"))
	for u := next(t, updates); u.Puts["second"].N != 2; u = next(t, updates) {
	}
	cfg := cluster.Config{Dir: last.dir, Name: last.name, Logger: quiet()}
	if _, err := cluster.ForceNew(t.Context(), cfg); !errors.Is(err, fsx.ErrLocked) {
		t.Errorf("ForceNew of a member that is open = %v, want ErrLocked", err)
	}
	s.want(func(n *node) { n.candidate = n == last })
	for _, n := range s.nodes {
		n.down()
	}

	kept, err := cluster.ForceNew(t.Context(), cfg)
	if err != nil || !exists(filepath.Join(kept, "snap", "db")) {
		t.Fatalf("ForceNew = %q, %v, want where the old data is", kept, err)
	}
	s.up(last, nil)
	s.settled("node-3")
	notes := cluster.NewBucket[note](last.c, "notes")
	if all, err := notes.List(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("the notes are %+v, %v, want both", all, err)
	}
	must[int64](t)(notes.Put(t.Context(), "third", note{N: 3}))

	// The others come back with what they have, learn that they were removed, and join anew.
	for _, n := range []*node{one, two} {
		if c, err := cluster.Open(t.Context(), cluster.Config{Dir: n.dir, Name: n.name, Peer: n.peer, PeerTLS: n.tls, Logger: quiet()}); !errors.Is(err, cluster.ErrRemoved) {
			t.Fatalf("Open of %s = %v, %v, want ErrRemoved", n.name, c, err)
		}
		must[string](t)(cluster.SetAside(n.dir))
	}
	s.want(func(n *node) { n.candidate, n.asks = true, n != last })
	s.settled("node-1", "node-2", "node-3")
	if e, err := cluster.NewBucket[note](one.c, "notes").Get(t.Context(), "third"); err != nil || e.Value.N != 3 {
		t.Errorf("on a member that joined anew: %+v, %v", e, err)
	}
}

func TestForceNewWithoutData(t *testing.T) {
	if _, err := cluster.ForceNew(t.Context(), cluster.Config{Dir: t.TempDir(), Name: "n", Logger: quiet()}); err == nil || !strings.HasSuffix(err.Error(), "there is none") {
		t.Errorf("ForceNew = %v", err)
	}
}
