// Package frame is the fixed binary layout in which events travel and rest: a header that everyone reads and a body that
// only those decode who must. It must not know what a body holds, nor how frames are carried.
//
// The layout is SEAMS.md section 4; golden vectors stand in sdk/proto/vectors. All numbers are little-endian.
package frame

import (
	"encoding/binary"
	"hash/crc32"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// Kind says what a frame is.
type Kind uint8

// The kinds, as stored on disk.
const (
	Open     Kind = 1
	Schema   Kind = 2
	Batch    Kind = 3
	Delete   Kind = 4
	Truncate Kind = 5
	Ack      Kind = 6
	Credit   Kind = 7
	Mark     Kind = 8
	Error    Kind = 9
	Close    Kind = 10
)

var kindNames = [...]string{Open: "OPEN", Schema: "SCHEMA", Batch: "BATCH", Delete: "DELETE", Truncate: "TRUNCATE", Ack: "ACK", Credit: "CREDIT", Mark: "MARK", Error: "ERROR", Close: "CLOSE"}

// String is the kind's name in SEAMS.md.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "UNKNOWN"
}

const (
	// HeaderSize is the size in bytes of the header that this version writes. Readers take longer ones and skip the rest.
	HeaderSize = 112
	// MaxSize is the largest frame in bytes, header and padding included.
	MaxSize = 4 << 20
	// Alignment of header and frame in bytes.
	Alignment = 8

	magic = 0x31464243 // "CBF1"

	offKind      = 4
	offFlags     = 5
	offHeader    = 6
	offBody      = 8
	offHeaderSum = 12
	offBodySum   = 16
	offLinkSeq   = 20
	offSource    = 28
	offCounter   = 44
	offPart      = 52
	offParts     = 54
	offStream    = 56
	offSchema    = 60
	offRows      = 68
	offTenant    = 72
	offEpoch     = 76
	offTrace     = 84
	endFields    = 109
)

// Errors of this package.
var (
	ErrShort    = cause.Define("CBN-LINK-001", "A frame is cut short.", "If it is in a file, the file was not written to its end.").Code(codes.DataLoss)
	ErrMagic    = cause.Define("CBN-LINK-002", "Bytes are not a frame.", "The peer speaks another protocol or the file is damaged.").Code(codes.DataLoss)
	ErrChecksum = cause.Define("CBN-LINK-003", "A frame's checksum is wrong.", "The bytes were damaged on their way or on disk.").Code(codes.DataLoss)
	ErrTooLarge = cause.Define("CBN-LINK-004", "A frame is larger than 4 MiB.", "Send fewer or smaller events in one batch.").Code(codes.ResourceExhausted)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Source identifies one start of a producing process.
type Source [16]byte

// SchemaID is the head of the SHA-256 of the canonical schema.
type SchemaID [8]byte

// Trace is a W3C trace context: trace id, span id, flags.
type Trace [25]byte

// Header is a frame's header. Sizes and checksums are not in it: Append makes them.
type Header struct {
	Kind  Kind
	Flags uint8
	// LinkSeq counts frames on one link from 1. In ACK it is the highest sequence up to which all is acknowledged; in ERROR
	// the refused frame's.
	LinkSeq uint64
	Source  Source
	// Counter is the source's number of the bundle. In a feed it is the highest `_seq` in the frame.
	Counter     uint64
	Part, Parts uint16
	// Stream is the number that OPEN bound to a name.
	Stream uint32
	Schema SchemaID
	Rows   uint32
	Tenant int32
	Epoch  uint64
	Trace  Trace
}

// Size is the size in bytes of a frame with a body of n bytes.
func Size(n int) int { return HeaderSize + pad(n) }

func pad(n int) int { return (n + Alignment - 1) &^ (Alignment - 1) }

// Append appends the frame to dst. It fails with ErrTooLarge only.
func Append(dst []byte, h *Header, body []byte) ([]byte, error) {
	size := Size(len(body))
	if size > MaxSize {
		return dst, ErrTooLarge.New("%s frame of %d bytes", h.Kind, size)
	}
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	dst = append(dst, body...)
	dst = append(dst, make([]byte, pad(len(body))-len(body))...)
	Seal(dst[start:], h, len(body))
	return dst, nil
}

// Seal writes the header into the first HeaderSize bytes of b, whose body of n bytes is already in its place, and both
// checksums. It lets an encoder write a body behind a gap and avoid a copy. len(b) must be Size(n).
func Seal(b []byte, h *Header, n int) {
	_ = b[HeaderSize-1]
	clear(b[endFields:HeaderSize])
	binary.LittleEndian.PutUint32(b, magic)
	b[offKind] = byte(h.Kind)
	b[offFlags] = h.Flags
	binary.LittleEndian.PutUint16(b[offHeader:], HeaderSize)
	binary.LittleEndian.PutUint32(b[offBody:], uint32(n))
	binary.LittleEndian.PutUint32(b[offBodySum:], crc32.Checksum(b[HeaderSize:HeaderSize+n], castagnoli))
	binary.LittleEndian.PutUint64(b[offLinkSeq:], h.LinkSeq)
	copy(b[offSource:], h.Source[:])
	binary.LittleEndian.PutUint64(b[offCounter:], h.Counter)
	binary.LittleEndian.PutUint16(b[offPart:], h.Part)
	binary.LittleEndian.PutUint16(b[offParts:], h.Parts)
	binary.LittleEndian.PutUint32(b[offStream:], h.Stream)
	copy(b[offSchema:], h.Schema[:])
	binary.LittleEndian.PutUint32(b[offRows:], h.Rows)
	binary.LittleEndian.PutUint32(b[offTenant:], uint32(h.Tenant))
	binary.LittleEndian.PutUint64(b[offEpoch:], h.Epoch)
	copy(b[offTrace:], h.Trace[:])
	putHeaderSum(b, HeaderSize)
}

// Restamp rewrites link sequence and stream number of a sealed frame in place, and the header's checksum: all that a
// forwarder may change.
func Restamp(b []byte, linkSeq uint64, stream uint32) {
	binary.LittleEndian.PutUint64(b[offLinkSeq:], linkSeq)
	binary.LittleEndian.PutUint32(b[offStream:], stream)
	putHeaderSum(b, int(binary.LittleEndian.Uint16(b[offHeader:])))
}

func putHeaderSum(b []byte, header int) {
	binary.LittleEndian.PutUint32(b[offHeaderSum:], 0)
	binary.LittleEndian.PutUint32(b[offHeaderSum:], crc32.Checksum(b[:header], castagnoli))
}

func headerSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:offHeaderSum])
	sum = crc32.Update(sum, castagnoli, zero4[:])
	return crc32.Update(sum, castagnoli, b[offBodySum:])
}

var zero4 [4]byte

// Parse reads the frame at the start of b. It checks sizes and the header's checksum, not the body's: those who decode or
// store a body call CheckBody. The body aliases b. rest is what follows the frame.
func Parse(b []byte) (h Header, body, rest []byte, err error) {
	size, err := Peek(b)
	if err != nil {
		return h, nil, nil, err
	}
	if len(b) < size {
		return h, nil, nil, ErrShort.New("frame of %d bytes, %d are there", size, len(b))
	}
	header := int(binary.LittleEndian.Uint16(b[offHeader:]))
	h = Header{
		Kind:    Kind(b[offKind]),
		Flags:   b[offFlags],
		LinkSeq: binary.LittleEndian.Uint64(b[offLinkSeq:]),
		Counter: binary.LittleEndian.Uint64(b[offCounter:]),
		Part:    binary.LittleEndian.Uint16(b[offPart:]),
		Parts:   binary.LittleEndian.Uint16(b[offParts:]),
		Stream:  binary.LittleEndian.Uint32(b[offStream:]),
		Rows:    binary.LittleEndian.Uint32(b[offRows:]),
		Tenant:  int32(binary.LittleEndian.Uint32(b[offTenant:])),
		Epoch:   binary.LittleEndian.Uint64(b[offEpoch:]),
	}
	copy(h.Source[:], b[offSource:])
	copy(h.Schema[:], b[offSchema:])
	copy(h.Trace[:], b[offTrace:])
	n := int(binary.LittleEndian.Uint32(b[offBody:]))
	return h, b[header : header+n : header+n], b[size:], nil
}

// Peek reads the size in bytes of the frame at the start of b, checking magic, sizes and the header's checksum. It needs the
// whole header, not the body; ErrShort asks for more bytes.
func Peek(b []byte) (int, error) {
	if len(b) < HeaderSize {
		return 0, ErrShort.New("header of %d bytes", len(b))
	}
	if binary.LittleEndian.Uint32(b) != magic {
		return 0, ErrMagic.New("starts with % x", b[:4])
	}
	header := int(binary.LittleEndian.Uint16(b[offHeader:]))
	n := int(binary.LittleEndian.Uint32(b[offBody:]))
	if header < HeaderSize || header%Alignment != 0 {
		return 0, ErrMagic.New("header of %d bytes", header)
	}
	size := header + pad(n)
	if n > MaxSize || size > MaxSize {
		return 0, ErrTooLarge.New("frame of %d bytes", size)
	}
	if len(b) < header {
		return 0, ErrShort.New("header of %d bytes, %d are there", header, len(b))
	}
	if headerSum(b[:header]) != binary.LittleEndian.Uint32(b[offHeaderSum:]) {
		return 0, ErrChecksum.New("header")
	}
	return size, nil
}

// CheckBody verifies the body's checksum of a frame that Parse took.
func CheckBody(b []byte) error {
	header := int(binary.LittleEndian.Uint16(b[offHeader:]))
	n := int(binary.LittleEndian.Uint32(b[offBody:]))
	if crc32.Checksum(b[header:header+n], castagnoli) != binary.LittleEndian.Uint32(b[offBodySum:]) {
		return ErrChecksum.New("body of a %s frame", Kind(b[offKind]))
	}
	return nil
}

// Rows is the number of rows of a sealed frame, 0 for fewer bytes than a header has.
func Rows(b []byte) uint32 {
	if len(b) < HeaderSize {
		return 0
	}
	return binary.LittleEndian.Uint32(b[offRows:])
}
