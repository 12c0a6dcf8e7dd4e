// Package codec writes and reads the container of an index file: sections with a kind, a version, a field number and a
// CRC-32C, listed in a directory at the end. It must not know what a section holds.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrDamaged is wrapped by every error that means: these bytes are not what was written.
var ErrDamaged = errors.New("damaged index file")

// Damaged makes an error that is ErrDamaged.
func Damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

const (
	magic         = 0x494e4243 // "CBNI"
	formatVersion = 1
	headerSize    = 16
	entrySize     = 32
	trailerSize   = 24
	// slack follows the last section, so that an 8-byte load at its end stays inside the file.
	slack = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum is the CRC-32C of p.
func Sum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// Kind says what a section holds. The numbers are on disk.
type Kind uint16

// Section is one entry of the directory.
type Section struct {
	Kind    Kind
	Version uint16
	Field   uint32
	Offset  uint64
	Length  uint64
	Sum     uint32
}

// Writer writes one file front to back. Errors stick: after the first every call is a no-op and Close returns it. Not safe
// for concurrent use.
type Writer struct {
	w    io.Writer
	buf  []byte
	off  uint64 // of what was handed to w or lies in buf
	sum  uint32 // of the present section, up to what lies in buf
	from int    // where the present section's unsummed bytes start in buf
	open bool
	list []Section
	err  error
}

const bufferSize = 64 << 10

// NewWriter starts a file on w.
func NewWriter(w io.Writer) *Writer {
	c := &Writer{w: w, buf: make([]byte, 0, bufferSize)}
	var h [headerSize]byte
	binary.LittleEndian.PutUint32(h[0:], magic)
	binary.LittleEndian.PutUint16(h[4:], formatVersion)
	c.append(h[:])
	return c
}

// Begin opens a section; the one before must have been ended.
func (c *Writer) Begin(kind Kind, version uint16, field uint32) {
	c.align()
	c.list = append(c.list, Section{Kind: kind, Version: version, Field: field, Offset: c.off})
	c.open, c.sum, c.from = true, 0, len(c.buf)
}

// End closes the present section.
func (c *Writer) End() {
	if !c.open {
		return
	}
	c.sum = crc32.Update(c.sum, castagnoli, c.buf[c.from:])
	s := &c.list[len(c.list)-1]
	s.Length, s.Sum = c.off-s.Offset, c.sum
	c.open = false
}

// Position is the number of bytes written to the present section.
func (c *Writer) Position() uint64 { return c.off - c.list[len(c.list)-1].Offset }

// Write adds p to the present section.
func (c *Writer) Write(p []byte) (int, error) {
	c.append(p)
	if c.err != nil {
		return 0, c.err
	}
	return len(p), nil
}

// Err is the first error met.
func (c *Writer) Err() error { return c.err }

func (c *Writer) append(p []byte) {
	if len(c.buf)+len(p) > bufferSize {
		c.flush()
		if len(p) >= bufferSize {
			c.direct(p)
			return
		}
	}
	c.buf = append(c.buf, p...)
	c.off += uint64(len(p))
}

func (c *Writer) direct(p []byte) {
	c.off += uint64(len(p))
	if c.err != nil {
		return
	}
	if c.open {
		c.sum = crc32.Update(c.sum, castagnoli, p)
	}
	_, c.err = c.w.Write(p)
}

func (c *Writer) flush() {
	if c.open {
		c.sum = crc32.Update(c.sum, castagnoli, c.buf[c.from:])
	}
	if c.err == nil && len(c.buf) > 0 {
		_, c.err = c.w.Write(c.buf)
	}
	c.buf, c.from = c.buf[:0], 0
}

func (c *Writer) align() {
	var zero [8]byte
	if n := c.off % 8; n != 0 {
		c.append(zero[:8-n])
	}
}

// Close writes directory and trailer. It does not close what it writes to. The answers are the size of the file and the sum
// of its directory, by which a manifest can tell this file from any other.
func (c *Writer) Close() (size uint64, sum uint32, err error) {
	c.End()
	c.align()
	c.append(make([]byte, slack))
	at := c.off
	dir := make([]byte, 0, len(c.list)*entrySize)
	for _, s := range c.list {
		dir = binary.LittleEndian.AppendUint16(dir, uint16(s.Kind))
		dir = binary.LittleEndian.AppendUint16(dir, s.Version)
		dir = binary.LittleEndian.AppendUint32(dir, s.Field)
		dir = binary.LittleEndian.AppendUint64(dir, s.Offset)
		dir = binary.LittleEndian.AppendUint64(dir, s.Length)
		dir = binary.LittleEndian.AppendUint32(dir, s.Sum)
		dir = binary.LittleEndian.AppendUint32(dir, 0)
	}
	sum = Sum(dir)
	c.append(dir)
	var t [trailerSize]byte
	binary.LittleEndian.PutUint64(t[0:], at)
	binary.LittleEndian.PutUint32(t[8:], uint32(len(c.list)))
	binary.LittleEndian.PutUint32(t[12:], sum)
	binary.LittleEndian.PutUint32(t[16:], formatVersion)
	binary.LittleEndian.PutUint32(t[20:], magic)
	c.append(t[:])
	c.flush()
	return c.off, sum, c.err
}

// File is a parsed file. Its sections point into the bytes given to Parse. Safe for concurrent use.
type File struct {
	data []byte
	list []Section
	at   uint64 // of the directory
	sum  uint32
}

// Parse reads header, trailer and directory of data and checks the directory's sum and bounds; Verify checks the sections.
func Parse(data []byte) (*File, error) {
	if len(data) < headerSize+slack+trailerSize {
		return nil, Damaged("%d bytes are too few for an index file", len(data))
	}
	t := data[len(data)-trailerSize:]
	if binary.LittleEndian.Uint32(data) != magic || binary.LittleEndian.Uint32(t[20:]) != magic {
		return nil, Damaged("no magic number")
	}
	if v := binary.LittleEndian.Uint32(t[16:]); v != formatVersion || binary.LittleEndian.Uint16(data[4:]) != formatVersion {
		return nil, Damaged("format version %d, this build reads %d", v, formatVersion)
	}
	at, n := binary.LittleEndian.Uint64(t), uint64(binary.LittleEndian.Uint32(t[8:]))
	end := uint64(len(data) - trailerSize)
	if at < headerSize+slack || at > end || n*entrySize != end-at {
		return nil, Damaged("directory out of bounds")
	}
	dir := data[at:end]
	f := &File{data: data, list: make([]Section, n), at: at, sum: Sum(dir)}
	if f.sum != binary.LittleEndian.Uint32(t[12:]) {
		return nil, Damaged("directory checksum")
	}
	for i := range f.list {
		e := dir[i*entrySize:]
		s := Section{
			Kind: Kind(binary.LittleEndian.Uint16(e)), Version: binary.LittleEndian.Uint16(e[2:]),
			Field: binary.LittleEndian.Uint32(e[4:]), Offset: binary.LittleEndian.Uint64(e[8:]),
			Length: binary.LittleEndian.Uint64(e[16:]), Sum: binary.LittleEndian.Uint32(e[24:]),
		}
		if s.Offset < headerSize || s.Offset > at-slack || s.Length > at-slack-s.Offset {
			return nil, Damaged("section %d of field %d out of bounds", s.Kind, s.Field)
		}
		f.list[i] = s
	}
	return f, nil
}

// Sum is the directory's checksum, as Writer.Close answered it.
func (f *File) Sum() uint32 { return f.sum }

// Section returns the bytes of a section, nil if the file has none of that kind and field. A version other than the given
// one is an error. At least 8 readable bytes follow within the slice's capacity.
func (f *File) Section(kind Kind, version uint16, field uint32) ([]byte, error) {
	for _, s := range f.list {
		if s.Kind == kind && s.Field == field {
			if s.Version != version {
				return nil, Damaged("section %d has version %d, this build reads %d", kind, s.Version, version)
			}
			return f.data[s.Offset : s.Offset+s.Length], nil
		}
	}
	return nil, nil
}

// Verify computes the checksum of every section, and sees to it that what lies between them is zero: no byte goes unchecked.
func (f *File) Verify() error {
	end := uint64(6) // magic and version were checked by Parse
	for _, s := range append(f.list[:len(f.list):len(f.list)], Section{Offset: f.at}) {
		if s.Offset < end {
			return Damaged("sections overlap")
		}
		for _, b := range f.data[end:s.Offset] {
			if b != 0 {
				return Damaged("bytes between sections")
			}
		}
		if end = s.Offset + s.Length; s.Length > 0 && Sum(f.data[s.Offset:end]) != s.Sum {
			return Damaged("checksum of section %d of field %d", s.Kind, s.Field)
		}
	}
	return nil
}
