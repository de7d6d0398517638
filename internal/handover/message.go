package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Protocol is the version of the conversation that this package speaks. A process that takes another's place must speak that one's.
const Protocol = 1

// kind says what a message is.
type kind string

const (
	kindHello   kind = "hello"   // new: who I am
	kindRefuse  kind = "refuse"  // old: no, because; it goes on as before
	kindSockets kind = "sockets" // old: here are listening sockets, and more may follow
	kindReady   kind = "ready"   // new: I serve
	kindDone    kind = "done"    // old: it is yours, I go
	kindAbort   kind = "abort"   // old: you took too long, give everything back
)

// message is a packet of the conversation. The fields of a hello and a refusal keep their meaning in every version of the protocol.
type message struct {
	Kind     kind   `json:"kind"`
	Protocol int    `json:"protocol,omitempty"`
	Version  string `json:"version,omitempty"`
	// Network is the sender's network name space, empty when it does not know.
	Network string `json:"network,omitempty"`
	// Reason goes with a refusal and an abort.
	Reason string `json:"reason,omitempty"`
	// Sockets describes the descriptors that come with the packet, in their order.
	Sockets []Socket `json:"sockets,omitempty"`
	// More tells that another packet of sockets follows.
	More bool `json:"more,omitempty"`
}

// Socket describes a listening socket.
type Socket struct {
	// Name is what it is for, such as "http".
	Name string `json:"name"`
	// Address is what was asked to listen on, such as ":80".
	Address string `json:"address"`
}

const (
	// maxMessage bounds a packet, in bytes.
	maxMessage = 64 << 10
	// maxSockets is how many descriptors go with a packet; the system takes at most 253.
	maxSockets = 128
	// maxText bounds names, addresses and reasons, in bytes.
	maxText = 1024
)

func (m *message) encode() ([]byte, error) {
	data, err := json.Marshal(m)
	if err == nil && len(data) > maxMessage {
		err = fmt.Errorf("the message %s has %d bytes, and at most %d fit", m.Kind, len(data), maxMessage)
	}
	return data, err
}

// decode reads a packet that came with so many descriptors. Fields that this version does not know are left out.
func decode(data []byte, descriptors int) (message, error) {
	var m message
	if len(data) > maxMessage {
		return message{}, fmt.Errorf("a message of more than %d bytes", maxMessage)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return message{}, fmt.Errorf("no message: %w", err)
	}
	if m.Kind != kindSockets && (len(m.Sockets) > 0 || descriptors > 0) {
		return message{}, errors.New("sockets where none belong")
	}
	if len(m.Sockets) != descriptors || descriptors > maxSockets {
		return message{}, fmt.Errorf("%d sockets are described and %d came", len(m.Sockets), descriptors)
	}
	texts := []string{string(m.Kind), m.Version, m.Network, m.Reason}
	for _, s := range m.Sockets {
		if s.Name == "" {
			return message{}, errors.New("a socket without a name")
		}
		texts = append(texts, s.Name, s.Address)
	}
	if slices.ContainsFunc(texts, func(s string) bool { return len(s) > maxText || !utf8.ValidString(s) }) {
		return message{}, fmt.Errorf("a text of more than %d bytes", maxText)
	}
	return m, nil
}
