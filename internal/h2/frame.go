package h2

import "encoding/binary"

// Type is what a frame is (RFC 9113 section 6).
type Type uint8

// The types. Others are extensions, which are ignored.
const (
	Data Type = iota
	Headers
	Priority
	RSTStream
	Settings
	PushPromise
	Ping
	GoAway
	WindowUpdate
	Continuation
)

// Flags are a frame's.
type Flags uint8

// The flags. Ack and EndStream are the same bit of different types.
const (
	EndStream   Flags = 0x1
	Ack         Flags = 0x1
	EndHeaders  Flags = 0x4
	Padded      Flags = 0x8
	HasPriority Flags = 0x20
)

const (
	// Preface is what a client sends first (RFC 9113 section 3.4).
	Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// FrameHeaderLen is how long the header of a frame is.
	FrameHeaderLen = 9
	// MaxFrame is the length of the payload that everybody has to take (RFC 9113 section 4.2). Clients may not send more here.
	MaxFrame = 16 << 10
	// MaxWindow is the largest flow-control window.
	MaxWindow = 1<<31 - 1
	// DefaultWindow is what windows are before anybody has said otherwise.
	DefaultWindow = 1<<16 - 1
)

// AppendFrameHeader appends the header of a frame whose payload of so many bytes follows.
func AppendFrameHeader(dst []byte, length int, t Type, f Flags, stream uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(t), byte(f), byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// AppendRSTStream appends a frame that ends a stream.
func AppendRSTStream(dst []byte, stream uint32, code Code) []byte {
	return binary.BigEndian.AppendUint32(AppendFrameHeader(dst, 4, RSTStream, 0, stream), uint32(code))
}

// AppendWindowUpdate appends a frame that lets the client send so many bytes more; stream 0 is the connection.
func AppendWindowUpdate(dst []byte, stream uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(AppendFrameHeader(dst, 4, WindowUpdate, 0, stream), uint32(n))
}

// AppendPing appends a frame that asks whether the client is there; with the flag Ack it answers the client's, whose payload is data.
func AppendPing(dst []byte, f Flags, data [8]byte) []byte {
	return append(AppendFrameHeader(dst, len(data), Ping, f, 0), data[:]...)
}

// AppendGoAway appends a frame that says that no stream beyond last is looked at. reason is for people.
func AppendGoAway(dst []byte, last uint32, code Code, reason string) []byte {
	dst = AppendFrameHeader(dst, 8+len(reason), GoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, reason...)
}

// Setting is the identifier of one (RFC 9113 section 6.5.2).
type Setting uint16

// The settings.
const (
	HeaderTableSize      Setting = 1
	EnablePush           Setting = 2
	MaxConcurrentStreams Setting = 3
	InitialWindowSize    Setting = 4
	MaxFrameSize         Setting = 5
	MaxHeaderListSize    Setting = 6
)

// SettingValue is a setting with its value.
type SettingValue struct {
	Setting Setting
	Value   uint32
}

// AppendSettings appends a frame with settings.
func AppendSettings(dst []byte, list ...SettingValue) []byte {
	dst = AppendFrameHeader(dst, 6*len(list), Settings, 0, 0)
	for _, s := range list {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.Setting))
		dst = binary.BigEndian.AppendUint32(dst, s.Value)
	}
	return dst
}

// AppendSettingsAck appends the acknowledgement of the client's settings.
func AppendSettingsAck(dst []byte) []byte { return AppendFrameHeader(dst, 0, Settings, Ack, 0) }

// EachSetting calls f with the settings in the payload of a frame that a Reader has returned, and checks the values of those that are known.
// It returns the first error, also of f.
func EachSetting(payload []byte, f func(s Setting, value uint32) error) error {
	for ; len(payload) >= 6; payload = payload[6:] {
		s, value := Setting(binary.BigEndian.Uint16(payload)), binary.BigEndian.Uint32(payload[2:])
		switch {
		case s == EnablePush && value > 1:
			return broken(ProtocolError, "an ENABLE_PUSH that is neither 0 nor 1", "RFC 9113 6.5.2")
		case s == InitialWindowSize && value > MaxWindow:
			return broken(FlowControlError, "an INITIAL_WINDOW_SIZE that no window has", "RFC 9113 6.5.2")
		case s == MaxFrameSize && (value < MaxFrame || value > 1<<24-1):
			return broken(ProtocolError, "a MAX_FRAME_SIZE out of its range", "RFC 9113 6.5.2")
		}
		if err := f(s, value); err != nil {
			return err
		}
	}
	return nil
}

// Window is how many bytes of content may be sent. A change of settings can make it negative (RFC 9113 section 6.9.2).
type Window int32

// Add adds n, which may be negative, and reports false when the window would be larger than MaxWindow; then it is unchanged.
func (w *Window) Add(n int64) bool {
	sum := int64(*w) + n
	if sum > MaxWindow || sum < -MaxWindow {
		return false
	}
	*w = Window(sum)
	return true
}
