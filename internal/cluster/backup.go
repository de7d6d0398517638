package cluster

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A backup is a line of JSON that says what follows (Backup), a snapshot of the database as etcd takes it, and the SHA-256 sum of both.
const (
	backupFormat  = "ruche-state"
	backupVersion = 1
	// maxHeader bounds the first line, in bytes.
	maxHeader = 4096
)

// ErrBackup tells that what was given is no whole backup.
var ErrBackup = errors.New("this is no whole backup of the state")

// Backup says what a backup holds.
type Backup struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	// Cluster is the ID of the cluster that it was taken of, 16 hexadecimal digits at most; Member the name of the member that it was taken by.
	Cluster string    `json:"cluster"`
	Member  string    `json:"member"`
	Taken   time.Time `json:"taken"`
	// Revision is the state's when the backup began; it may hold newer writes.
	Revision int64 `json:"revision"`
}

// Backup writes the whole state as this member has it, at one moment. It needs no majority. The keys in it are sealed as they are in the state, but whoever has the
// backup and the sealing key has everything.
func (c *Cluster) Backup(ctx context.Context, w io.Writer) (Backup, error) {
	b, err := c.backup(ctx, w)
	if err != nil {
		return Backup{}, fmt.Errorf("cannot back the state up: %w", err)
	}
	return b, nil
}

func (c *Cluster) backup(ctx context.Context, w io.Writer) (Backup, error) {
	m, err := c.held()
	if err != nil {
		return Backup{}, err
	}
	now, err := m.get(ctx, "/ruche/", clientv3.WithSerializable(), clientv3.WithCountOnly())
	if err != nil {
		return Backup{}, err
	}
	b := Backup{
		Format: backupFormat, Version: backupVersion, Cluster: strconv.FormatUint(now.Header.ClusterId, 16), Member: c.cfg.Name,
		Taken: time.Now().UTC().Truncate(time.Second), Revision: now.Header.Revision,
	}
	header, err := json.Marshal(b)
	if err != nil {
		return Backup{}, err
	}
	sum := sha256.New()
	both := io.MultiWriter(w, sum)
	if _, err := both.Write(append(header, '\n')); err != nil {
		return Backup{}, err
	}
	resp, err := m.client.SnapshotWithVersion(ctx)
	if err != nil {
		return Backup{}, err
	}
	_, err = io.Copy(both, resp.Snapshot)
	if err = errors.Join(err, resp.Snapshot.Close()); err != nil {
		return Backup{}, err
	}
	_, err = w.Write(sum.Sum(nil))
	return b, err
}

// CheckBackup reads a whole backup and compares its checksum. What is no whole backup gives ErrBackup.
func CheckBackup(r io.Reader) (Backup, error) { return readBackup(r, io.Discard) }

// readBackup is CheckBackup that also writes the snapshot in it.
func readBackup(r io.Reader, to io.Writer) (Backup, error) {
	br := bufio.NewReaderSize(r, maxHeader)
	header, err := br.ReadSlice('\n')
	if err != nil {
		return Backup{}, fmt.Errorf("%w: it has no first line that says so", ErrBackup)
	}
	var b Backup
	if err := json.Unmarshal(header, &b); err != nil || b.Format != backupFormat {
		return Backup{}, fmt.Errorf("%w: its first line does not say so", ErrBackup)
	}
	if b.Version != backupVersion {
		return Backup{}, fmt.Errorf("cannot read backups of version %d, only of version %d; use the release of Ruche that made it", b.Version, backupVersion)
	}
	sum := sha256.New()
	sum.Write(header)
	// What the last bytes are is known at the end only.
	var last [sha256.Size]byte
	if _, err := io.ReadFull(br, last[:]); err != nil {
		return Backup{}, fmt.Errorf("%w: it ends too early", ErrBackup)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := br.Read(buf)
		data := append(last[:len(last):len(last)], buf[:n]...)
		copy(last[:], data[n:])
		sum.Write(data[:n])
		if _, err := to.Write(data[:n]); err != nil {
			return Backup{}, err
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Backup{}, err
		}
	}
	if [sha256.Size]byte(sum.Sum(nil)) != last {
		return Backup{}, fmt.Errorf("%w: its checksum is wrong, it is damaged or cut off", ErrBackup)
	}
	return b, nil
}
