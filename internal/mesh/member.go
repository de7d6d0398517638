package mesh

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Member has the key by which a control node proves itself to the other members of the state. What replicates the state reads it from a file; on the disk it is
// sealed, so that file is in memory and has no name but that of its descriptor. It is safe for concurrent use.
type Member struct {
	dir  string
	safe Safe

	mu sync.Mutex
	fd int // of the file in memory; -1 where the key lies on the disk in the clear
}

// OpenMember makes it, with what is in the directory of the node's identity, which may be nothing yet. The file in memory is there for as long as the process is.
func OpenMember(dir string, safe Safe) (*Member, error) {
	m := &Member{dir: dir, safe: safe, fd: -1}
	if len(safe) == 0 {
		return m, nil
	}
	var err error
	if m.fd, err = memoryFile(nil); err != nil {
		return nil, err
	}
	if err := m.refresh(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, unix.Close(m.fd))
	}
	return m, nil
}

// Certificate is the path of the file with certificate and key, in PEM. It stays the same when they are renewed.
func (m *Member) Certificate() string {
	if m.fd < 0 {
		return FilesOfMember(m.dir).Certificate
	}
	return fmt.Sprintf("/proc/self/fd/%d", m.fd)
}

// refresh takes over what is on the disk; nothing is done on a node that is not control.
func (m *Member) refresh() error {
	if m == nil || m.fd < 0 {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(m.dir, peerFile))
	if err != nil {
		return fmt.Errorf("cannot read the certificate of this member: %w", err)
	}
	var opened []byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			der, err := m.safe.Unblock(whatNodeKey, block)
			if err != nil {
				return err
			}
			block = &pem.Block{Type: pemKey, Bytes: der}
		}
		opened = append(opened, pem.EncodeToMemory(block)...)
	}
	fd, err := memoryFile(opened)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// The old file becomes the new one at once: a reader sees one of them as a whole.
	return errors.Join(unix.Dup3(fd, m.fd, unix.O_CLOEXEC), unix.Close(fd))
}

// memoryFile makes a file that is nowhere but in memory.
func memoryFile(content []byte) (fd int, err error) {
	if fd, err = unix.MemfdCreate("ruche-member", unix.MFD_CLOEXEC); err != nil {
		return -1, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	for len(content) > 0 && err == nil {
		var n int
		n, err = unix.Write(fd, content)
		content = content[max(n, 0):]
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("cannot write a file in memory: %w", err), unix.Close(fd))
	}
	return fd, nil
}
