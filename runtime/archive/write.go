package archive

import (
	"archive/zip"
	"bytes"
	"io"
	"time"
)

// Writer makes archives that Open takes. The same members in the same order give the same bytes, whatever the clock says.
type Writer struct{ z *zip.Writer }

// NewWriter writes an archive to w. Close ends it.
func NewWriter(w io.Writer) *Writer { return &Writer{zip.NewWriter(w)} }

// epoch is the first time that zip knows.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Add writes one file.
func (w *Writer) Add(name string, executable bool, content io.Reader) error {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	h.SetModTime(epoch) //nolint:staticcheck // the DOS fields alone: Modified adds a time zone
	h.SetMode(0o644)
	if executable {
		h.SetMode(0o755)
	}
	to, err := w.z.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, content)
	return err
}

// AddBytes writes one file.
func (w *Writer) AddBytes(name string, content []byte) error {
	return w.Add(name, false, bytes.NewReader(content))
}

// Copy writes a file of another archive as it is packed there.
func (w *Writer) Copy(e Entry) error { return w.z.Copy(e.file) }

// Close ends the archive; the writer beneath stays open.
func (w *Writer) Close() error { return w.z.Close() }
