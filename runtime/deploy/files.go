package deploy

import "strings"

// Files are the digests of the files below ServerRoot, by path relative to it, whoever takes them. One that is being written has the digest
// that it had before; whole is false while a new one is left out because it is.
func (s *Service) Files() (files map[string]string, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, whole = map[string]string{}, true
	for p, e := range s.entries {
		rel, ok := strings.CutPrefix(p, ServerRoot+"/")
		switch {
		case !ok || e.app != "" || e.absent:
		case e.digest != "":
			files[rel] = e.digest
		case e.problem == nil:
			whole = false
		}
	}
	return files, whole
}
