package docs

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	mdLink    = regexp.MustCompile(`\]\(([^()\s]+)(?:\s+"[^"]*")?\)`)
	mdRef     = regexp.MustCompile(`(?m)^\[[^\]]+\]:\s+(\S+)`)
	mdHeading = regexp.MustCompile(`(?m)^#{1,6}\s+(.+?)\s*#*$`)
	mdScheme  = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
	inCode    = regexp.MustCompile("`[^`\n]*`")
)

// TestLinks follows every relative link of the repository's Markdown files to a file and, where it names one, to a heading.
func TestLinks(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	files, links := 0, 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipped(root, path) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, link := range relativeLinks(string(text)) {
			links++
			if err := follow(path, link); err != nil {
				name, _ := filepath.Rel(root, path)
				t.Errorf("%s: %s: %v", name, link, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 || links < 20 {
		t.Errorf("found %d links in %d files: too few to have looked at the documents", links, files)
	}
}

// TestLinksSeesBrokenOnes proves that a missing file, a missing heading and a good link are told apart.
func TestLinksSeesBrokenOnes(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	text := "# One `thing`, & more\n\n```sh\n# not a heading\n[no](link.md)\n```\n\n    [nor](this.md)\n\n## Twice\n## Twice\n" +
		"[a](page.md) [b](#one-thing--more) [c](#twice-1) [d](gone.md) [e](#twice-2) [f](page.md#not-a-heading) [g](https://example.org/) `[h](gone.md)`\n"
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var good, broken []string
	for _, link := range relativeLinks(text) {
		if follow(page, link) == nil {
			good = append(good, link)
		} else {
			broken = append(broken, link)
		}
	}
	if got, want := fmt.Sprint(good, broken), "[page.md #one-thing--more #twice-1] [gone.md #twice-2 page.md#not-a-heading]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// skipped says whether a folder is made by builds, tests or servers and not ours to check.
func skipped(root, path string) bool {
	name := filepath.Base(path)
	if path != root && strings.HasPrefix(name, ".") || name == "node_modules" || name == "target" || name == "build" {
		return true
	}
	rel, _ := filepath.Rel(root, path)
	return rel == "repository" || filepath.Dir(rel) == "plugins" && rel != filepath.Join("plugins", "examples")
}

// prose is the text without its code: fenced and indented blocks.
func prose(text string) string {
	var out strings.Builder
	fenced, blank := false, true
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		indented := strings.HasPrefix(line, "    ") && blank
		switch {
		case strings.HasPrefix(trimmed, "```"):
			fenced = !fenced
		case !fenced && !indented:
			out.WriteString(line)
		}
		blank = trimmed == "" || indented
	}
	return out.String()
}

func relativeLinks(text string) []string {
	text = inCode.ReplaceAllString(prose(text), "``")
	var links []string
	for _, form := range []*regexp.Regexp{mdLink, mdRef} {
		for _, m := range form.FindAllStringSubmatch(text, -1) {
			if !mdScheme.MatchString(m[1]) {
				links = append(links, m[1])
			}
		}
	}
	return links
}

func follow(page, link string) error {
	u, err := url.Parse(link)
	if err != nil {
		return err
	}
	target := page
	if u.Path != "" {
		target = filepath.Join(filepath.Dir(page), filepath.FromSlash(u.Path))
	}
	if _, err := os.Stat(target); err != nil {
		return err
	}
	if u.Fragment == "" {
		return nil
	}
	text, err := os.ReadFile(target)
	if err != nil {
		return err
	}
	seen := map[string]int{}
	for _, m := range mdHeading.FindAllStringSubmatch(prose(string(text)), -1) {
		a := anchor(m[1])
		n := seen[a]
		seen[a]++
		if n > 0 {
			a = fmt.Sprintf("%s-%d", a, n)
		}
		if a == u.Fragment {
			return nil
		}
	}
	return fmt.Errorf("no heading #%s in %s", u.Fragment, filepath.Base(target))
}

// anchor is the name that GitHub gives to a heading.
func anchor(heading string) string {
	var out strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			out.WriteByte('-')
		case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
			out.WriteRune(r)
		}
	}
	return out.String()
}
