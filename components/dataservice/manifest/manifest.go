// Package manifest is the store's checkpoint: what the tables, segments, bindings and sources are as of a position of the log,
// in one file that is replaced whole. It must not know how the state is used.
package manifest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
	"carbonado.dev/carbonado/components/dataservice/vfs"
	"carbonado.dev/sdk/cause"
)

// ErrCorrupt is the error of a manifest that can't be trusted.
var ErrCorrupt = cause.Define("CBN-STORE-050", "The store's manifest is damaged.",
	"Stop the component, keep a copy of its data folder, restore MANIFEST from a backup of the same moment as the log.").Code(codes.DataLoss)

// Column is a column of a table's schema.
type Column struct {
	rows.Column
	Indexed    bool `json:"indexed,omitempty"`
	ScoreParam bool `json:"scoreParam,omitempty"`
	Facet      bool `json:"facet,omitempty"`
}

// Schema is a table's declared schema. Keys are sorted.
type Schema struct {
	Columns []Column `json:"columns,omitempty"`
	Keys    []string `json:"keys,omitempty"`
}

// Segment is one immutable file of a table. Its path is relative to the folder of segments.
type Segment struct {
	ID   uint64 `json:"id"`
	Path string `json:"path"`
	segment.Info
	// AsOf is the position up to which deaths were left out when the file was written.
	AsOf uint64 `json:"asOf"`
	// Adopted are the ranges that became visible later than their numbers say.
	Adopted []Adoption `json:"adopted,omitempty"`
}

// Adoption is a range of `_seq` that was reserved before, and became visible after, other rows of the table.
type Adoption struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	At    uint64 `json:"at"`
}

// Table is one table.
type Table struct {
	ID            uint32        `json:"id"`
	Tenant        int32         `json:"tenant"`
	Name          string        `json:"name"`
	Store         string        `json:"store"`
	Schema        Schema        `json:"schema"`
	SchemaVersion uint64        `json:"schemaVersion"`
	Extra         []rows.Column `json:"extra,omitempty"`
	// Born is the position of its creation, Horizon the one before which deletes are not known one by one any more.
	Born    uint64 `json:"born"`
	Horizon uint64 `json:"horizon"`
	LastSeq uint64 `json:"lastSeq"`
	// Cut: what the log has up to here is in segments.
	Cut      uint64    `json:"cut"`
	Segments []Segment `json:"segments,omitempty"`
}

// Target says how the frames of a source become rows of a table.
type Target struct {
	Table   uint32         `json:"table"`
	Columns []TargetColumn `json:"columns"`
	Version string         `json:"version,omitempty"`
}

// TargetColumn maps a field of the source's schema to a column.
type TargetColumn struct {
	From string      `json:"from"`
	To   rows.Column `json:"to"`
}

// Source is what a stream number of the log means.
type Source struct {
	// Number is what the frames of one log file say; 0 outside of the log.
	Number  uint32   `json:"number,omitempty"`
	Stream  string   `json:"stream,omitempty"`
	Schema  []byte   `json:"schema,omitempty"`
	Targets []Target `json:"targets"`
}

// Sender is what was seen of one sending process.
type Sender struct {
	ID []byte `json:"id"`
	// Next is the lowest counter that is not closed; Seen are those above it; Parts are the parts seen of unfinished ones.
	Next     uint64            `json:"next"`
	Seen     []uint64          `json:"seen,omitempty"`
	Parts    map[uint64][]byte `json:"parts,omitempty"`
	LastUsed int64             `json:"lastUsed"`
}

// Commit is a transaction that was committed.
type Commit struct {
	Key         string `json:"key"`
	Transaction string `json:"transaction"`
	Seq         uint64 `json:"seq"`
	Rows        int64  `json:"rows"`
	Version     uint64 `json:"version"`
	Time        int64  `json:"time"`
}

// Manifest is the whole state as of Seq.
type Manifest struct {
	Version     uint64            `json:"version"`
	Seq         uint64            `json:"seq"`
	LogFile     uint64            `json:"logFile"`
	NextTable   uint32            `json:"nextTable"`
	NextSegment uint64            `json:"nextSegment"`
	KeyIndex    bool              `json:"keyIndex"`
	Tables      []Table           `json:"tables"`
	Sources     []Source          `json:"sources,omitempty"`
	Senders     []Sender          `json:"senders,omitempty"`
	Commits     []Commit          `json:"commits,omitempty"`
	Fences      map[string]uint64 `json:"fences,omitempty"`
}

// FileName of the manifest in the store's folder.
const FileName = "MANIFEST"

const (
	magic      = "CBM1"
	headerSize = 24
	format     = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode makes a manifest's file.
func Encode(m *Manifest) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	b := make([]byte, headerSize, headerSize+len(body))
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[4:], format)
	binary.LittleEndian.PutUint64(b[8:], uint64(len(body)))
	binary.LittleEndian.PutUint32(b[16:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(b[20:], crc32.Checksum(b[:20], castagnoli))
	return append(b, body...), nil
}

// Decode reads a manifest's file.
func Decode(b []byte) (*Manifest, error) {
	if len(b) < headerSize || string(b[:4]) != magic {
		return nil, ErrCorrupt.New("it does not begin with a manifest's header")
	}
	if crc32.Checksum(b[:20], castagnoli) != binary.LittleEndian.Uint32(b[20:]) {
		return nil, ErrCorrupt.New("the header's checksum is wrong")
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != format {
		return nil, ErrCorrupt.New("format %d, this program reads %d", v, format).Fix("Start the version of the product that wrote it.")
	}
	body := b[headerSize:]
	if n := binary.LittleEndian.Uint64(b[8:]); n != uint64(len(body)) {
		return nil, ErrCorrupt.New("%d bytes instead of %d", len(body), n)
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[16:]) {
		return nil, ErrCorrupt.New("the checksum is wrong")
	}
	m := &Manifest{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, ErrCorrupt.Wrap(err, "content")
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// check refuses what the store could not work with, whoever wrote it.
func (m *Manifest) check() error {
	names := map[string]bool{}
	for _, t := range m.Tables {
		if t.ID == 0 || t.ID >= m.NextTable || t.Name == "" || names[t.Name] {
			return ErrCorrupt.New("table %d %q", t.ID, t.Name)
		}
		names[t.Name] = true
		var last uint64
		for i, s := range t.Segments {
			if s.ID == 0 || s.ID >= m.NextSegment || s.MinSeq > s.MaxSeq || i > 0 && s.MinSeq <= last || !filepath.IsLocal(filepath.FromSlash(s.Path)) ||
				strings.Contains(s.Path, `\`) {
				return ErrCorrupt.New("segment %d of table %s", s.ID, t.Name)
			}
			last = s.MaxSeq
		}
	}
	return nil
}

// Read reads the manifest of a folder; nil without error if there is none.
func Read(dir string) (*Manifest, error) {
	name := filepath.Join(dir, FileName)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := Decode(b)
	if err != nil {
		return nil, cause.From(err).At(name, 0, 0)
	}
	return m, nil
}

// Write replaces the manifest of a folder.
func Write(fsys vfs.FS, dir string, m *Manifest) error {
	b, err := Encode(m)
	if err != nil {
		return err
	}
	return vfs.WriteFile(fsys, filepath.Join(dir, FileName), b)
}
