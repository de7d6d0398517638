package mesh

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/ruche-project/ruche/internal/fsx"
)

// Deliver gives what a node that follows is told instead of a value, on one line of JSON, and false where it is told that there is no such key. It is
// called by several goroutines at once.
type Deliver func(to *Recipient, key string, value json.RawMessage) (_ json.RawMessage, keep bool)

// Recipient is a node that follows, as one that things are sealed to. What is sealed has two layers: a data key of this stream, which the node's public key opens
// (HPKE, RFC 9180, with ML-KEM-768 and X25519 and AES-256-GCM), and under that key the thing itself. So the costly step is done once for a stream, and each sealed thing can be
// opened by itself at any later time.
type Recipient struct {
	// Node is its name.
	Node string

	public hpke.PublicKey // nil where the node has shown none
	make   sync.Once
	seal   *Seal
	head   []byte // version and the sealed data key
	err    error
}

const (
	// recipientHeader has the public key of a node that follows, in base64.
	recipientHeader = "Ruche-Recipient"
	// sealedVersion begins what is sealed to a node.
	sealedVersion = 1
	// headBytes is how long that begins: a byte, the encapsulated key (1088 + 32), the data key and its tag.
	headBytes = 1 + 1120 + sealKeyBytes + 16
)

// ErrNoRecipient tells that the node has shown no key, as one of an older release.
var ErrNoRecipient = errors.New("the node has shown no key that things can be sealed to")

// newRecipient reads the key that a node shows.
func newRecipient(node, shown string) (*Recipient, error) {
	r := &Recipient{Node: node}
	if shown == "" {
		return r, nil
	}
	data, err := base64.StdEncoding.DecodeString(shown)
	if err == nil {
		r.public, err = hpke.MLKEM768X25519().NewPublicKey(data)
	}
	return r, err
}

// deliveryInfo binds a data key to the node that it is for.
func deliveryInfo(node string) []byte { return []byte("ruche delivery to " + node) }

// Seal seals something to the node. What for is part of the seal, as with Seal.Close.
func (r *Recipient) Seal(what string, data []byte) ([]byte, error) {
	r.make.Do(r.prepare)
	if r.err != nil {
		return nil, r.err
	}
	return append(bytes.Clone(r.head), r.seal.Close(what, data)...), nil
}

func (r *Recipient) prepare() {
	if r.public == nil {
		r.err = ErrNoRecipient
		return
	}
	key := make([]byte, sealKeyBytes)
	_, _ = rand.Read(key) // never fails
	var sealed []byte
	if sealed, r.err = hpke.Seal(r.public, hpke.HKDFSHA256(), hpke.AES256GCM(), deliveryInfo(r.Node), key); r.err == nil {
		r.head = append([]byte{sealedVersion}, sealed...)
		r.seal, r.err = newSeal(key)
	}
}

// boxFile has the private key of this node as a recipient, in the directory of its identity.
const boxFile = "recipient.key"

// whatBoxKey is what it is sealed for.
const whatBoxKey = "key by which this node is told secrets"

// box opens what was sealed to this node.
type box struct {
	node    string
	private hpke.PrivateKey

	mu   sync.Mutex
	head []byte // that of seal
	seal *Seal  // the data key that was used last
}

// openBox reads the key of this node, or makes one. One that cannot be opened is as good as none: what is sealed to the new one comes with the first stream.
func openBox(dir, node string, safe Safe, logger *slog.Logger) (*box, error) {
	b := &box{node: node}
	file := filepath.Join(dir, boxFile)
	stale, err := b.read(file, safe)
	if err == nil && !stale {
		return b, nil
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			logger.Warn("the key by which this node is told secrets is lost, making another: what was sealed to it comes anew", slog.Any("error", err))
		}
		if b.private, err = hpke.MLKEM768X25519().GenerateKey(); err != nil {
			return nil, fmt.Errorf("cannot make the key of this node: %w", err)
		}
	}
	return b, b.save(file, safe)
}

// boxRecord is what the file holds.
type boxRecord struct {
	Sealed bool   `json:"sealed"`
	Key    []byte `json:"key"`
}

// read reports whether the key is to be written again.
func (b *box) read(file string, safe Safe) (stale bool, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	var r boxRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return false, errors.New("the file is damaged")
	}
	stale = safe.stale(r.Sealed, r.Key)
	if r.Sealed {
		if r.Key, err = safe.Open(whatBoxKey, r.Key); err != nil {
			return false, err
		}
	}
	if b.private, err = hpke.MLKEM768X25519().NewPrivateKey(r.Key); err != nil {
		return false, errors.New("the key in it cannot be used") // what is wrong with a secret is not told
	}
	return stale, nil
}

func (b *box) save(file string, safe Safe) error {
	key, err := b.private.Bytes()
	var data []byte
	if err == nil {
		data, err = json.Marshal(boxRecord{Sealed: len(safe) > 0, Key: safe.Close(whatBoxKey, key)})
	}
	if err == nil {
		err = fsx.WriteFile(file, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the key of this node: %w", err)
	}
	return nil
}

// public is the public key, as it is shown.
func (b *box) public() string {
	return base64.StdEncoding.EncodeToString(b.private.PublicKey().Bytes())
}

func (b *box) open(what string, sealed []byte) ([]byte, error) {
	if len(sealed) < headBytes || sealed[0] != sealedVersion {
		return nil, fmt.Errorf("cannot open the %s: it was not sealed to a node", what)
	}
	seal, err := b.dataKey(sealed[:headBytes])
	var data []byte
	if err == nil {
		data, err = seal.Open(what, sealed[headBytes:])
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the %s: it was sealed to another node, or is damaged", what)
	}
	return data, nil
}

// dataKey opens the data key, which is the same for all that came by one stream.
func (b *box) dataKey(head []byte) (*Seal, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seal != nil && bytes.Equal(b.head, head) {
		return b.seal, nil
	}
	key, err := hpke.Open(b.private, hpke.HKDFSHA256(), hpke.AES256GCM(), deliveryInfo(b.node), head[1:])
	if err != nil {
		return nil, err
	}
	seal, err := newSeal(key)
	if err == nil {
		b.head, b.seal = bytes.Clone(head), seal
	}
	return seal, err
}
