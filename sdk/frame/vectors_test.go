package frame_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"carbonado.dev/sdk/frame"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

const vectorsFile = "../proto/vectors/frames.json"

// vector is one golden frame: other languages read and write the same.
type vector struct {
	Name    string `json:"name"`
	Kind    uint8  `json:"kind"`
	LinkSeq uint64 `json:"linkSeq"`
	Source  string `json:"source"`
	Counter uint64 `json:"counter"`
	Part    uint16 `json:"part"`
	Parts   uint16 `json:"parts"`
	Stream  uint32 `json:"stream"`
	Schema  string `json:"schema"`
	Rows    uint32 `json:"rows"`
	Tenant  int32  `json:"tenant"`
	Epoch   uint64 `json:"epoch"`
	Trace   string `json:"trace"`
	Body    string `json:"body"`
	Frame   string `json:"frame"`
}

func (v vector) header() *frame.Header {
	h := &frame.Header{
		Kind: frame.Kind(v.Kind), LinkSeq: v.LinkSeq, Counter: v.Counter, Part: v.Part, Parts: v.Parts, Stream: v.Stream,
		Rows: v.Rows, Tenant: v.Tenant, Epoch: v.Epoch,
	}
	for text, to := range map[string][]byte{v.Source: h.Source[:], v.Schema: h.Schema[:], v.Trace: h.Trace[:]} {
		b, _ := hex.DecodeString(text)
		copy(to, b)
	}
	return h
}

// TestGoldenVectors: the frames on disk are what this code writes and reads. A change here breaks every log and every other language.
func TestGoldenVectors(t *testing.T) {
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Fatalf("%d vectors", len(all))
	}
	for i, v := range all {
		body, err := hex.DecodeString(v.Body)
		if err != nil {
			t.Fatal(err)
		}
		b, err := frame.Append(nil, v.header(), body)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			all[i].Frame = hex.EncodeToString(b)
			continue
		}
		if got := hex.EncodeToString(b); got != v.Frame {
			t.Errorf("%s is written as\n%s, want\n%s", v.Name, got, v.Frame)
		}
		golden, err := hex.DecodeString(v.Frame)
		if err != nil {
			t.Fatal(err)
		}
		h, got, rest, err := frame.Parse(golden)
		if err != nil || len(rest) != 0 || !bytes.Equal(got, body) || h != *v.header() || frame.CheckBody(golden) != nil {
			t.Errorf("%s is read as %+v, %x, %v", v.Name, h, got, err)
		}
	}
	if *update {
		out, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
