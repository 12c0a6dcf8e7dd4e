package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/plan/inputs"
)

const (
	// bundleLog is how much of the end of each log goes into a bundle, bundleFile how large a file of configuration may be.
	bundleLog  = 2 << 20
	bundleFile = 1 << 20
	// bundleCall bounds each question to the server.
	bundleCall = 15 * time.Second
)

func (a *app) bundleCommand() *cobra.Command {
	return &cobra.Command{Use: "support-bundle -o FILE", Short: "Collect status, plan, history, logs and configuration, secrets left out, in one .tar.gz", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		out := a.format // -o names the file here: a bundle has one format
		if !cmd.Flags().Changed("output") || out == "" {
			return errUsage.New("no file is named").Fix("carbonado support-bundle -o FILE.tar.gz")
		}
		f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		n, err := a.bundle(cmd.Context(), f)
		if err = errors.Join(err, f.Close()); err != nil {
			return errors.Join(err, os.Remove(out))
		}
		fmt.Fprintf(a.Stdout, "%s: %d files, secrets left out; look into it before you send it\n", out, n)
		return nil
	}}
}

// bundler writes files into a bundle, each one redacted.
type bundler struct {
	tar     *tar.Writer
	secrets []string
	files   int
	now     time.Time
}

func (b *bundler) put(name string, data []byte) error {
	data = redact(data, b.secrets)
	b.files++
	if err := b.tar.WriteHeader(&tar.Header{Name: "carbonado-support/" + name, Mode: 0o600, Size: int64(len(data)), ModTime: b.now, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := b.tar.Write(data)
	return err
}

// bundle writes all that helps to understand an installation, and nothing that lies in repository/data or resources/security.
func (a *app) bundle(ctx context.Context, w io.Writer) (int, error) {
	z := gzip.NewWriter(w)
	b := &bundler{tar: tar.NewWriter(z), now: time.Now()}
	in, err := inputs.Read(ctx, a.Home, nil)
	if err == nil {
		b.secrets = secretsOf(a.Home, in)
	} else {
		b.secrets = secretsOf(a.Home, nil)
	}
	errs := []error{a.bundleServer(ctx, b)}
	if p, err := json.MarshalIndent(a.checkup(ctx, nil), "", "  "); err == nil {
		errs = append(errs, b.put("doctor.json", p))
	}
	if in != nil && err == nil {
		if p, err := json.MarshalIndent(in.Plan(), "", "  "); err == nil {
			errs = append(errs, b.put("plan-of-a-start.json", p))
		}
	} else {
		errs = append(errs, b.put("plan-of-a-start.txt", []byte(fmt.Sprintln(err))))
	}
	errs = append(errs, b.tree(a.Home, "repository/conf", bundleFile), b.tree(a.Home, "repository/logs", bundleLog))
	for _, f := range []string{"history.jsonl", "deployments.jsonl", "rules.yaml", "versions.json", "runs"} {
		data, err := tailOf(filepath.Join(a.Home, "repository", "data", "kernel", f), bundleLog)
		if err == nil {
			errs = append(errs, b.put("kernel/"+f, data))
		}
	}
	errs = append(errs, b.put("version.txt", []byte(a.Version+"\n")), b.tar.Close(), z.Close())
	return b.files, errors.Join(errs...)
}

// bundleServer asks a running server; without one a line says so.
func (a *app) bundleServer(ctx context.Context, b *bundler) error {
	ask := func(name, path string) error {
		ctx, cancel := context.WithTimeout(ctx, bundleCall)
		defer cancel()
		resp, err := a.do(ctx, http.MethodGet, path, nil)
		if err != nil {
			return b.put("server/"+name+".error.txt", []byte(err.Error()+"\n"))
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
		if err != nil {
			return b.put("server/"+name+".error.txt", []byte(err.Error()+"\n"))
		}
		var pretty bytes.Buffer
		if json.Indent(&pretty, data, "", "  ") == nil {
			data = pretty.Bytes()
		}
		return b.put("server/"+name, data)
	}
	short, cancel := context.WithTimeout(ctx, bundleCall)
	defer cancel()
	list, err := get[[]admin.Component](short, a, "/api/components")
	if err != nil {
		return b.put("server/none.txt", []byte(err.Error()+"\n"))
	}
	var errs []error
	for name, path := range map[string]string{
		"status.json": "/api/status", "components.json": "/api/components", "plan.json": "/api/plan", "profile.json": "/api/profile", "services.json": "/api/services",
		"artifacts.json": "/api/artifacts", "listeners.json": "/api/listeners", "history.json": "/api/history", "boot.json": "/api/boot", "graph.json": "/api/graph",
		"top.json": "/api/top", "config.json": "/api/config", "metrics.txt": "/metrics",
	} {
		errs = append(errs, ask(name, path))
	}
	for _, c := range list {
		errs = append(errs, ask("components/"+c.Name+".json", "/api/components/"+c.Name), ask("components/"+c.Name+".diag.json", "/api/components/"+c.Name+"/diag"),
			ask("components/"+c.Name+".history.json", "/api/components/"+c.Name+"/history"))
	}
	return errors.Join(errs...)
}

// tree puts the files below a folder of the installation, of each the last max bytes.
func (b *bundler) tree(home, dir string, max int64) error {
	return filepath.WalkDir(filepath.Join(home, dir), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // what can't be read is left out
		}
		ext := strings.ToLower(filepath.Ext(path))
		if slices.Contains([]string{".jks", ".p12", ".pfx", ".pem", ".key", ".keystore", ".gz", ".minisign"}, ext) || strings.Contains(strings.ToLower(e.Name()), "secret") {
			return nil
		}
		data, err := tailOf(path, max)
		if err != nil {
			return nil
		}
		rel, err := filepath.Rel(home, path)
		if err != nil {
			return err
		}
		return b.put(filepath.ToSlash(rel), data)
	})
}

// tailOf reads the last max bytes of a file.
func tailOf(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > max {
		if _, err := f.Seek(-max, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, max))
}

// secretsOf collects the secrets of an installation that are known by their values: those that the configuration holds or names.
func secretsOf(home string, in *inputs.Inputs) []string {
	var out []string
	add := func(s string) {
		if s = strings.TrimSpace(s); len(s) >= 4 && s != "***" && s != "true" && s != "false" {
			out = append(out, s)
		}
	}
	if b, err := os.ReadFile(filepath.Join(home, "repository", "data", "initial-password")); err == nil {
		add(string(b))
	}
	add(os.Getenv("CARBONADO_ADMIN_PASSWORD"))
	if in != nil {
		s := in.Config.Server
		for _, v := range []string{s.KeyStore.Password.V, s.KeyStore.KeyPassword.V, s.TrustStore.Password.V} {
			add(v)
		}
		for _, v := range in.Config.Telemetry.Headers {
			add(v)
		}
		for _, c := range in.Components {
			var whole, shown any
			if json.Unmarshal(c.JSON, &whole) == nil && json.Unmarshal(c.Redacted, &shown) == nil {
				hiddenValues(whole, shown, add)
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(out)
}

// hiddenValues visits the texts of a value that another form of it hides.
func hiddenValues(whole, shown any, visit func(string)) {
	if shown == "***" {
		leaves(whole, visit)
		return
	}
	switch w := whole.(type) {
	case map[string]any:
		s, _ := shown.(map[string]any)
		for key, x := range w {
			hiddenValues(x, s[key], visit)
		}
	case []any:
		s, _ := shown.([]any)
		for i, x := range w {
			if i < len(s) {
				hiddenValues(x, s[i], visit)
			}
		}
	}
}

func leaves(v any, visit func(string)) {
	switch v := v.(type) {
	case string:
		visit(v)
	case map[string]any:
		for _, x := range v {
			leaves(x, visit)
		}
	case []any:
		for _, x := range v {
			leaves(x, visit)
		}
	}
}

// word are the names whose values are taken for secrets, in any kind of text.
const word = `[\w.-]*(?i:passw(?:or)?d|passphrase|secret|token|credential|api[_-]?key|private[_-]?key|authorization|cookie)[\w.-]*`

// patterns find the value of such a name, as XML element and attribute, YAML, JSON, properties, HTTP headers, and within URLs.
var patterns = []*regexp.Regexp{
	regexp.MustCompile(`(<(` + word + `)(?:\s[^<>]*)?>)[^<]+(</)`),
	regexp.MustCompile(`(\b` + word + `\s*=\s*")[^"]*(")`),
	regexp.MustCompile(`(\b` + word + `\s*=\s*')[^']*(')`),
	regexp.MustCompile(`("?\b` + word + `"?\s*:\s*")(?:[^"\\]|\\.)*(")`),
	regexp.MustCompile(`('?\b` + word + `'?\s*:\s*')[^']*(')`),
	regexp.MustCompile(`(?m)((?:^|[\s{,"'-])` + word + `["']?\s*[:=]\s*)[^\s"'\[{,}<][^\n,}<]*()`),
	regexp.MustCompile(`(://[^\s/:@"']+:)[^\s/@"']+(@)`),
	regexp.MustCompile(`(?i)(\b(?:basic|bearer)\s+)[A-Za-z0-9+/._~=-]{6,}()`),
}

// redact takes secrets out of a text: those known by their values, and what stands behind a name that means one.
func redact(data []byte, secrets []string) []byte {
	text := string(data)
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "***")
	}
	for i, p := range patterns {
		if i == 0 {
			text = p.ReplaceAllString(text, "${1}***${3}")
		} else {
			text = p.ReplaceAllString(text, "${1}***${2}")
		}
	}
	return []byte(text)
}
