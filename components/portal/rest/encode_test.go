package rest

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestStringsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := strings.ToValidUTF8(rapid.String().Draw(t, "string"), "�")
		var got string
		if err := json.Unmarshal(appendString(nil, want), &got); err != nil || got != want {
			t.Fatalf("%q became %q, %v", want, got, err)
		}
	})
}

func TestNumbersComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Float64().Draw(t, "number")
		var got float64
		if err := json.Unmarshal(appendFloat(nil, want, 64), &got); err != nil || got != want {
			t.Fatalf("%g became %g, %v", want, got, err)
		}
		single := float32(want)
		if math.IsInf(float64(single), 0) {
			return
		}
		var back float32
		if err := json.Unmarshal(appendFloat(nil, float64(single), 32), &back); err != nil || back != single {
			t.Fatalf("%g became %g, %v", single, back, err)
		}
	})
}

func TestWhatJSONHasNoNumberForIsAString(t *testing.T) {
	for want, f := range map[string]float64{`"NaN"`: math.NaN(), `"+Inf"`: math.Inf(1), `"-Inf"`: math.Inf(-1)} {
		if got := string(appendFloat(nil, f, 64)); got != want {
			t.Errorf("%g: %s, want %s", f, got, want)
		}
	}
}

func FuzzPieces(f *testing.F) {
	f.Add("abcdef", 2)
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = 1 + (size&0x7fffffff)%7
		rest := []byte(text)
		p := &pieces{next: func() ([]byte, error) {
			if len(rest) == 0 {
				return nil, errEnd
			}
			n := min(size, len(rest))
			piece := rest[:n]
			rest = rest[n:]
			return piece, nil
		}}
		var got []byte
		buf := make([]byte, 3)
		for {
			n, err := p.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
		}
		if string(got) != text {
			t.Fatalf("got %q, want %q", got, text)
		}
	})
}

var errEnd = json.Unmarshal(nil, new(int)) // any error but io.EOF
