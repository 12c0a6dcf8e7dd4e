// Command index prints what indexing a document costs here against Lucene 10, warm, on the same documents at the same commits.
// It must not know the component: it drives shards as the component does.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/search"
	"carbonado.dev/carbonado/components/indexing/segment"
	"carbonado.dev/carbonado/components/indexing/shard"
)

type row struct {
	seq                       uint64
	time, bytes               int64
	service, message, summary []byte
}

// result is one pass of an engine.
type result struct {
	cpu, rate           float64 // microseconds per document, documents per second
	bytes, term, phrase int64
}

func main() {
	docs := flag.Int("docs", 200_000, "documents")
	perCommit := flag.Int("commit", 1000, "documents per commit")
	passes := flag.Int("passes", 3, "passes of each engine in one process; the last counts")
	source := flag.String("java", "bench/index/java", "folder of IndexBench.java and pom.xml")
	queries := flag.Bool("queries", false, "time queries too, without a comparison")
	flag.Parse()
	if err := run(*docs, *perCommit, *passes, *source, *queries); err != nil {
		fmt.Fprintln(os.Stderr, "index:", err)
		os.Exit(1)
	}
}

func run(docs, perCommit, passes int, source string, queries bool) error {
	dir, err := os.MkdirTemp("", "bench-index-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rows := generate(docs)
	var ours result
	for i := range passes {
		if ours, err = index(filepath.Join(dir, fmt.Sprint("ours-", i)), rows, perCommit, queries && i == passes-1); err != nil {
			return err
		}
	}
	fmt.Printf("# carbonado: %.1f us of CPU per document, %.0f documents/s, %.1f MB\n", ours.cpu, ours.rate, float64(ours.bytes)/1e6)
	java, err := findJava()
	if err == nil {
		err = fetch(java, source, filepath.Join(dir, "libs"))
	}
	if err != nil {
		fmt.Printf("index-cpu-per-doc without a ratio: %v\n", err)
		return nil
	}
	lucene, err := runLucene(java, source, dir, rows, perCommit, passes)
	if err != nil {
		return err
	}
	fmt.Printf("# Lucene 10: %.1f us of CPU per document, %.0f documents/s, %.1f MB\n", lucene.cpu, lucene.rate, float64(lucene.bytes)/1e6)
	if ours.term != lucene.term || ours.phrase != lucene.phrase {
		return fmt.Errorf("not the same index: term %d and %d, phrase %d and %d hits", ours.term, lucene.term, ours.phrase, lucene.phrase)
	}
	fmt.Printf("index-cpu-per-doc ratio=%.2f target=<=0.6\n", ours.cpu/lucene.cpu)
	return nil
}

// generate makes documents of 12 and 5 words, Zipf over 50,000, of 50 services.
func generate(n int) []row {
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.2, 4, 50_000)
	text := func(words int) []byte {
		var b []byte
		for i := range words {
			if i > 0 {
				b = append(b, ' ')
			}
			b = strconv.AppendUint(append(b, 'w'), zipf.Uint64(), 10)
		}
		return b
	}
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{seq: uint64(i + 1), time: 1_700_000_000_000 + int64(i)*7, bytes: r.Int64N(1 << 20),
			service: fmt.Appendf(nil, "service-%d", r.IntN(50)), message: text(12), summary: text(5)}
	}
	return rows
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func index(dir string, rows []row, perCommit int, queries bool) (result, error) {
	s, err := shard.Open(dir, shard.Options{})
	if err != nil {
		return result{}, err
	}
	defer s.Close()
	cpu, start := cpuTime(), time.Now()
	b := s.Batch()
	for i := range rows {
		r := &rows[i]
		doc := b.Add(r.seq, r.time)
		b.Field("bytes", segment.Int).AddNumber(doc, r.bytes)
		for _, f := range []struct {
			name, copy string
			value      []byte
		}{{"message", "_message", r.message}, {"summary", "_summary", r.summary}, {"service", "_service", r.service}} {
			b.Field(f.name, segment.Text).AddText(doc, f.value)
			b.Field(f.copy, segment.Keyword).AddKeyword(doc, f.value)
		}
		if (i+1)%perCommit == 0 || i+1 == len(rows) {
			if err := s.Commit(r.seq); err != nil {
				return result{}, err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := s.Settle(ctx); err != nil {
		return result{}, err
	}
	out := result{cpu: float64((cpuTime() - cpu).Nanoseconds()) / 1e3 / float64(len(rows)), rate: float64(len(rows)) / time.Since(start).Seconds()}
	if queries {
		if err := timeQueries(s); err != nil {
			return out, err
		}
	}
	snap := s.Acquire()
	defer snap.Release()
	out.bytes = snap.Bytes()
	term, err := search.Count(ctx, snap, query.Term{Field: "message", Kind: segment.Text, Text: "w17", Boost: 1})
	if err != nil {
		return out, err
	}
	phrase, err := search.Count(ctx, snap, query.Phrase{Field: "message", Terms: []query.PhraseTerm{{Text: "w1"}, {Text: "w2", At: 1}}, Boost: 1})
	out.term, out.phrase = int64(term), int64(phrase)
	return out, err
}

var version = regexp.MustCompile(`version "(\d+)`)

// findJava looks for a JDK of 21 or later in JAVA_HOME, on the PATH and where Linux distributions put them.
func findJava() (string, error) {
	homes, _ := filepath.Glob("/usr/lib/jvm/*")
	slices.Reverse(homes)
	candidates := []string{"java"}
	if home := os.Getenv("JAVA_HOME"); home != "" {
		candidates = []string{filepath.Join(home, "bin", "java"), "java"}
	}
	for _, h := range homes {
		candidates = append(candidates, filepath.Join(h, "bin", "java"))
	}
	for _, c := range candidates {
		out, err := exec.Command(c, "-version").CombinedOutput()
		if m := version.FindSubmatch(out); err == nil && m != nil {
			if v, _ := strconv.Atoi(string(m[1])); v >= 21 {
				return exec.LookPath(c)
			}
		}
	}
	return "", errors.New("Lucene 10 needs Java 21 or later, and there is none here")
}

// fetch copies Lucene from Maven to a folder.
func fetch(java, source, libs string) error {
	mvn := exec.Command("mvn", "-q", "-f", filepath.Join(source, "pom.xml"), "dependency:copy-dependencies", "-DoutputDirectory="+libs)
	mvn.Env = append(os.Environ(), "JAVA_HOME="+filepath.Dir(filepath.Dir(java)))
	if out, err := mvn.CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("Lucene can't be had from Maven: %w %s", err, first)
	}
	return nil
}

func runLucene(java, source, dir string, rows []row, perCommit, passes int) (result, error) {
	libs := filepath.Join(dir, "libs")
	docs := filepath.Join(dir, "documents.tsv")
	if err := write(docs, rows); err != nil {
		return result{}, err
	}
	run := exec.Command(java, "-Xmx1g", "--add-modules", "jdk.incubator.vector", "-cp", filepath.Join(libs, "*"), filepath.Join(source, "IndexBench.java"), docs,
		filepath.Join(dir, "lucene"), strconv.Itoa(passes), strconv.Itoa(perCommit))
	var stderr strings.Builder
	run.Stderr = &stderr
	out, err := run.Output()
	if err != nil {
		return result{}, fmt.Errorf("Lucene: %w\n%s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var r result
	var pass int
	_, err = fmt.Sscanf(lines[len(lines)-1], "pass %d cpu_us_per_doc %f docs_per_s %f bytes %d term %d phrase %d", &pass, &r.cpu, &r.rate, &r.bytes, &r.term, &r.phrase)
	return r, err
}

func write(path string, rows []row) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, r := range rows {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%d\n", r.seq, r.time, r.service, r.message, r.summary, r.bytes)
	}
	return errors.Join(w.Flush(), f.Close())
}
