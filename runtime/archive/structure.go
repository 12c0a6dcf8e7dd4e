package archive

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io"
	"slices"
)

// The records of a zip archive (APPNOTE.TXT 4.3).
const (
	localSize, localMagic           = 30, 0x04034b50
	endSize, endMagic               = 22, 0x06054b50
	descriptorSize, descriptorMagic = 12, 0x08074b50
	// maxDirectory bounds the central directory, which is read into memory.
	maxDirectory = 32 << 20
	flagEncrypted, flagDescriptor, flagPatched, flagStrong,
	flagMasked = 1 << 0, 1 << 3, 1 << 5, 1 << 6, 1 << 13
	extraZip64 = 0x0001
)

// parse proves that an archive is: local headers with their content one after the other from the first byte, then the directory, then
// the end record, and nothing else, both saying the same. It gives the members in the order in which they lie.
func parse(r io.ReaderAt, size int64, l Limits) ([]*zip.File, error) {
	if size > l.Archive {
		return nil, ErrLimit.New("the archive has %d bytes, it may have %d", size, l.Archive)
	}
	end, err := readEnd(r, size, l)
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(r, size)
	if err != nil && z == nil {
		return nil, ErrStructure.Wrap(err, "its directory can't be read")
	}
	if len(z.File) != end.records {
		return nil, ErrStructure.New("its end record counts %d members, its directory has %d", end.records, len(z.File))
	}
	type placed struct {
		file *zip.File
		data int64
	}
	order := make([]placed, 0, len(z.File))
	for _, f := range z.File {
		data, err := f.DataOffset()
		if err != nil {
			return nil, ErrStructure.Wrap(err, "%q can't be found", shortened(f.Name))
		}
		order = append(order, placed{f, data})
	}
	slices.SortFunc(order, func(a, b placed) int { return int(min(max(a.data-b.data, -1), 1)) })
	out := make([]*zip.File, 0, len(order))
	at := int64(0)
	for _, p := range order {
		if at, err = member(r, p.file, at, p.data, end.directory); err != nil {
			return nil, err
		}
		out = append(out, p.file)
	}
	if at != end.directory {
		return nil, ErrStructure.New("%d bytes between its members and its directory belong to nothing", end.directory-at)
	}
	return out, nil
}

type endRecord struct {
	records   int
	directory int64
}

func readEnd(r io.ReaderAt, size int64, l Limits) (endRecord, error) {
	if size < endSize {
		return endRecord{}, ErrStructure.New("%d bytes are no archive", size)
	}
	b := make([]byte, endSize)
	if _, err := r.ReadAt(b, size-endSize); err != nil {
		return endRecord{}, ErrStructure.Wrap(err, "its end can't be read")
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(b[at:])) }
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
	switch {
	case u32(0) != endMagic || u16(20) != 0:
		return endRecord{}, ErrStructure.New("it does not end as archives do: it is cut off, or something follows it, or it has a comment")
	case u16(8) == 0xffff, u16(10) == 0xffff, u32(12) == 0xffffffff, u32(16) == 0xffffffff:
		return endRecord{}, ErrFeature.New("it is in the ZIP64 form")
	case u16(4) != 0 || u16(6) != 0 || u16(8) != u16(10):
		return endRecord{}, ErrFeature.New("it is in several parts")
	case u16(10) > l.Members:
		return endRecord{}, ErrLimit.New("it has %d members, it may have %d", u16(10), l.Members)
	case u32(12) > maxDirectory:
		return endRecord{}, ErrLimit.New("its directory has %d bytes, it may have %d", u32(12), maxDirectory)
	case u32(16)+u32(12) != size-endSize:
		return endRecord{}, ErrStructure.New("its directory does not lie before its end: something stands before, between or after")
	}
	return endRecord{u16(10), u32(16)}, nil
}

// member proves one member, whose local header must begin at at, and gives where it ends.
func member(r io.ReaderAt, f *zip.File, at, data, directory int64) (int64, error) {
	name := shortened(f.Name)
	b := make([]byte, localSize)
	if at+localSize > directory {
		return 0, ErrStructure.New("%q overlaps the directory", name)
	}
	if _, err := r.ReadAt(b, at); err != nil {
		return 0, ErrStructure.Wrap(err, "%q can't be read", name)
	}
	u16 := func(i int) uint16 { return binary.LittleEndian.Uint16(b[i:]) }
	u32 := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	if u32(0) != localMagic || at+localSize+int64(u16(26))+int64(u16(28)) != data {
		return 0, ErrStructure.New("%q overlaps another member, or bytes before it belong to nothing", name)
	}
	rest := make([]byte, data-at-localSize)
	if _, err := r.ReadAt(rest, at+localSize); err != nil {
		return 0, ErrStructure.Wrap(err, "%q can't be read", name)
	}
	if !bytes.Equal(rest[:u16(26)], []byte(f.Name)) {
		return 0, ErrStructure.New("%q has another name where it lies (%q)", name, shortened(string(rest[:u16(26)])))
	}
	if err := features(f, u16(6), u16(8), rest[u16(26):]); err != nil {
		return 0, err
	}
	end := data + int64(f.CompressedSize64)
	if f.CompressedSize64 > uint64(directory) || end > directory {
		return 0, ErrStructure.New("%q overlaps the directory", name)
	}
	if f.Flags&flagDescriptor == 0 {
		if u32(14) != f.CRC32 || uint64(u32(18)) != f.CompressedSize64 || uint64(u32(22)) != f.UncompressedSize64 {
			return 0, ErrStructure.New("%q has two sizes or checksums", name)
		}
		return end, nil
	}
	return descriptor(r, f, end, directory)
}

// features refuses what this reader does not take, and flags or methods that differ between the two headers.
func features(f *zip.File, flags, method uint16, extra []byte) error {
	name := shortened(f.Name)
	switch {
	case f.Flags&(flagEncrypted|flagStrong|flagMasked) != 0:
		return ErrFeature.New("%q is encrypted", name)
	case f.Flags&flagPatched != 0:
		return ErrFeature.New("%q is a patch", name)
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return ErrFeature.New("%q is compressed by method %d; stored (0) and deflate (8) are taken", name, f.Method)
	case f.Flags != flags || f.Method != method:
		return ErrStructure.New("%q is described in two ways", name)
	case f.Method == zip.Store && f.CompressedSize64 != f.UncompressedSize64:
		return ErrStructure.New("%q is stored as it is, but has two sizes", name)
	}
	for _, x := range [][]byte{extra, f.Extra} {
		for len(x) >= 4 {
			id, n := binary.LittleEndian.Uint16(x), int(binary.LittleEndian.Uint16(x[2:]))
			if id == extraZip64 {
				return ErrFeature.New("%q is in the ZIP64 form", name)
			}
			if 4+n > len(x) {
				break
			}
			x = x[4+n:]
		}
	}
	return nil
}

// descriptor proves the record that follows a member whose header was written before its size was known.
func descriptor(r io.ReaderAt, f *zip.File, at, directory int64) (int64, error) {
	b := make([]byte, 4+descriptorSize)
	n, _ := r.ReadAt(b[:min(int64(len(b)), directory-at)], at)
	b = b[:n]
	size := int64(descriptorSize)
	if len(b) == 4+descriptorSize && binary.LittleEndian.Uint32(b) == descriptorMagic {
		b, size = b[4:], size+4
	}
	if len(b) < descriptorSize {
		return 0, ErrStructure.New("%q overlaps the directory", shortened(f.Name))
	}
	if binary.LittleEndian.Uint32(b) != f.CRC32 || uint64(binary.LittleEndian.Uint32(b[4:])) != f.CompressedSize64 ||
		uint64(binary.LittleEndian.Uint32(b[8:])) != f.UncompressedSize64 {
		return 0, ErrStructure.New("%q has two sizes or checksums", shortened(f.Name))
	}
	return at + size, nil
}
