// Package wal is the store's log: append-only files of frames, each group of frames made durable by one fdatasync. It must not
// know what the frames mean.
//
// A file is a FILE record, then groups: a GROUP record and the frames that were committed together. A GROUP record says at
// which offset it stands. It is written only after everything before it is durable, so a valid GROUP record behind damaged
// bytes proves that the damage is not a torn write. A group counts whole or not at all.
package wal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/frame"
)

// Kinds of records that only the log's files have. Other kinds of the same range belong to the log's user.
const (
	kindFile  frame.Kind = 0x41
	kindGroup frame.Kind = 0x42
	// KindChange is a record of the log's user: a change of state that is not a frame of a link.
	KindChange frame.Kind = 0x43
)

// Errors of the log.
var (
	ErrCorrupt = cause.Define("CBN-STORE-020", "The store's log is damaged.",
		"Stop the component, keep a copy of its data folder, restore the named file from a backup.").Code(codes.DataLoss)
	ErrFull = cause.Define("CBN-STORE-021", "No space is left for the store's log or its segments.",
		"Free space on the disk of repository/data; writes go on by themselves then.").Code(codes.ResourceExhausted)
	ErrBroken = cause.Define("CBN-STORE-022", "The store's log can't be written.",
		"The component restarts and replays its log; see the disk's health if it happens again.").Code(codes.Unavailable)
)

const (
	formatVersion = 1
	fileBody      = 32
	groupBody     = 40
	suffix        = ".log"
)

type fileID [16]byte

func newFileID() (id fileID) {
	if _, err := rand.Read(id[:]); err != nil {
		panic(err) // crypto/rand never fails on supported systems
	}
	return id
}

func fileName(n uint64) string { return fmt.Sprintf("%016d%s", n, suffix) }

func fileNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

func fileRecord(n uint64, id fileID) []byte {
	body := make([]byte, fileBody)
	binary.LittleEndian.PutUint32(body, formatVersion)
	binary.LittleEndian.PutUint64(body[8:], n)
	copy(body[16:], id[:])
	return seal(kindFile, body)
}

func groupRecord(id fileID, off int64, length int64, count int) []byte {
	body := make([]byte, groupBody)
	copy(body, id[:])
	binary.LittleEndian.PutUint64(body[16:], uint64(off))
	binary.LittleEndian.PutUint64(body[24:], uint64(length))
	binary.LittleEndian.PutUint32(body[32:], uint32(count))
	return seal(kindGroup, body)
}

func seal(kind frame.Kind, body []byte) []byte {
	b, err := frame.Append(nil, &frame.Header{Kind: kind}, body)
	if err != nil {
		panic(err) // the bodies are a few bytes long
	}
	return b
}

type group struct {
	id     fileID
	off    int64
	length int64
	count  int
}

func parseGroup(body []byte) (g group, ok bool) {
	if len(body) != groupBody {
		return g, false
	}
	copy(g.id[:], body)
	g.off = int64(binary.LittleEndian.Uint64(body[16:]))
	g.length = int64(binary.LittleEndian.Uint64(body[24:]))
	g.count = int(binary.LittleEndian.Uint32(body[32:]))
	return g, g.off >= 0 && g.length >= 0
}

func parseFile(body []byte) (n uint64, id fileID, err error) {
	if len(body) < fileBody {
		return 0, id, fmt.Errorf("file record of %d bytes", len(body))
	}
	if v := binary.LittleEndian.Uint32(body); v != formatVersion {
		return 0, id, fmt.Errorf("format version %d, this program reads %d", v, formatVersion)
	}
	copy(id[:], body[16:])
	return binary.LittleEndian.Uint64(body[8:]), id, nil
}

var magic = []byte("CBF1")

// laterGroup looks in b, whose first byte stands at offset base of the file, for a valid GROUP record that stands where it says,
// at or behind offset after. With known set it must be of file id.
func laterGroup(b []byte, base, after int64, id fileID, known bool) (int64, bool) {
	for i := 0; ; {
		j := bytes.Index(b[i:], magic)
		if j < 0 {
			return 0, false
		}
		i += j
		off := base + int64(i)
		if off >= after && off%frame.Alignment == 0 {
			if h, body, _, err := frame.Parse(b[i:]); err == nil && h.Kind == kindGroup && frame.CheckBody(b[i:]) == nil {
				if g, ok := parseGroup(body); ok && g.off == off && (!known || g.id == id) {
					return off, true
				}
			}
		}
		i++
	}
}
