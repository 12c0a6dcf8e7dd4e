package link

import (
	"fmt"
	"math/bits"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// Subtype is the gRPC content subtype of links: a message is exactly one frame, without protobuf framing.
const Subtype = "carbonado-raw"

// CallOption makes a call of a link method use the raw codec.
func CallOption() grpc.CallOption { return grpc.CallContentSubtype(Subtype) }

func init() { encoding.RegisterCodecV2(rawCodec{}) }

// rawCodec carries *linkv1.Frame as its bytes. A received frame lies in a pooled buffer that Free gives back.
type rawCodec struct{}

func (rawCodec) Name() string { return Subtype }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*linkv1.Frame)
	if !ok {
		return nil, fmt.Errorf("codec %s carries frames, not %T", Subtype, v)
	}
	return mem.BufferSlice{mem.SliceBuffer(f.Data)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*linkv1.Frame)
	if !ok {
		return fmt.Errorf("codec %s carries frames, not %T", Subtype, v)
	}
	f.Data = Alloc(data.Len())
	data.CopyTo(f.Data)
	return nil
}

// Buffers are pooled by powers of two from 4 KiB to 4 MiB. grpc-go's own pool zeroes a buffer at each Get, which costs more
// than the copy (reference/PLUGINS.md trap 31), so frames have a pool of their own.
const (
	minClass = 12
	maxClass = 22
)

var pools [maxClass + 1]sync.Pool

// Alloc returns a buffer of n bytes with arbitrary content, from the pool where one fits.
func Alloc(n int) []byte {
	class := bits.Len(uint(max(n, 1) - 1))
	class = max(class, minClass)
	if class > maxClass {
		return make([]byte, n)
	}
	if p, _ := pools[class].Get().(*[]byte); p != nil {
		return (*p)[:n]
	}
	return make([]byte, n, 1<<class)
}

// Free gives a buffer of Alloc back. The caller must not touch it afterwards; a buffer of other origin is ignored.
func Free(b []byte) {
	class := bits.Len(uint(cap(b))) - 1
	if class < minClass || class > maxClass || cap(b) != 1<<class {
		return
	}
	b = b[:0]
	pools[class].Put(&b)
}
