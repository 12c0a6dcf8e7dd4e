package shard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/disk"
)

const (
	manifestName   = "manifest"
	manifestFormat = 1

	deletesVersion = 1
)

// deletesKind is the kind of file that holds which documents are deleted.
const deletesKind codec.Kind = 1

// manifest is what a shard consists of. It is one line of JSON and one with its checksum.
type manifest struct {
	Format int `json:"format"`
	// Analysis names the analysis that made the terms; under another one the shard is to be replayed.
	Analysis string `json:"analysis"`
	// Position is the `_seq` of the feed up to which the shard has everything.
	Position uint64 `json:"position"`
	// Generation grows with every commit; delete files are named by it.
	Generation uint64          `json:"generation"`
	Next       uint64          `json:"next"`
	Segments   []segmentRecord `json:"segments"`
}

type segmentRecord struct {
	ID    uint64 `json:"id"`
	Docs  int    `json:"docs"`
	Bytes uint64 `json:"bytes"`
	Sum   uint32 `json:"sum"`
	// Deletes is the generation of the delete file; 0 is none.
	Deletes uint64 `json:"deletes,omitempty"`
	Deleted int    `json:"deleted,omitempty"`
}

func (r segmentRecord) file() string { return fmt.Sprintf("seg-%08x.cbn", r.ID) }

func (r segmentRecord) deletesFile() string {
	if r.Deletes == 0 {
		return ""
	}
	return fmt.Sprintf("del-%08x-%x.cbn", r.ID, r.Deletes)
}

func (m *manifest) clone() *manifest {
	n := *m
	n.Segments = append([]segmentRecord(nil), m.Segments...)
	return &n
}

func (m *manifest) write(fsys disk.FS, folder string) error {
	p, err := json.Marshal(m)
	if err != nil {
		return err
	}
	p = append(p, '\n')
	p = fmt.Appendf(p, "crc32c %08x\n", codec.Sum(p))
	return disk.Write(fsys, filepath.Join(folder, manifestName), p)
}

// readManifest returns nil where there is none.
func readManifest(fsys disk.FS, folder string) (*manifest, error) {
	p, err := fsys.ReadFile(filepath.Join(folder, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	i := bytes.IndexByte(p, '\n') + 1
	word, ok := bytes.CutPrefix(bytes.TrimSpace(p[i:]), []byte("crc32c "))
	sum, err := strconv.ParseUint(string(word), 16, 32)
	if !ok || err != nil || uint32(sum) != codec.Sum(p[:i]) {
		return nil, codec.Damaged("manifest checksum")
	}
	m := &manifest{}
	if err := json.Unmarshal(p[:i], m); err != nil {
		return nil, codec.Damaged("manifest: %v", err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("%w: manifest format %d, this build reads %d", ErrOutdated, m.Format, manifestFormat)
	}
	return m, nil
}

// writeDeletes makes a delete file durable; its folder entry is the caller's to sync.
func writeDeletes(fsys disk.FS, name string, b codec.Bitmap) error {
	var buf bytes.Buffer
	w := codec.NewWriter(&buf)
	w.Begin(deletesKind, deletesVersion, 0)
	_, _ = w.Write(b.Bytes())
	if _, _, err := w.Close(); err != nil {
		return err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(buf.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func readDeletes(fsys disk.FS, name string, docs int) (codec.Bitmap, error) {
	p, err := fsys.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f, err := codec.Parse(p)
	if err != nil {
		return nil, err
	}
	if err := f.Verify(); err != nil {
		return nil, err
	}
	s, err := f.Section(deletesKind, deletesVersion, 0)
	if err != nil {
		return nil, err
	}
	return codec.BitmapOf(s, docs)
}
