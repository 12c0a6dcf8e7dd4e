package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// look compares the disk with what is known. again is true if something is unsettled and must be looked at once more.
func (s *Service) look() (again bool) {
	owners := s.takers()
	touched := s.bell.Touched()
	if touched == nil {
		touched = map[string]bool{}
	}
	l := scan(s.repo, s.roots)
	folders := make([]string, len(l.folders))
	for i, f := range l.folders {
		folders[i] = filepath.Join(s.base, filepath.FromSlash(f))
	}
	added, err := s.bell.Watch(folders)
	if polling := err != nil; s.polling.Swap(polling) != polling {
		if polling {
			s.log.Warn("some folders can't be watched, looking every few seconds", "every", s.times.Poll, "reason", err)
		}
	}
	for p := range s.bell.Touched() {
		touched[p] = true // whatever came meanwhile is settled by the next look
	}
	for f, err := range l.failed {
		s.log.Warn("a folder can't be read; what was deployed from it stays", "folder", f, "reason", err)
	}
	now := s.now()
	leaving := s.lookForMissing(l, now)
	again = added || leaving
	for _, p := range sorted(l.files) {
		st := l.files[p]
		if s.settled(p, st) {
			delete(s.sightings, p)
			continue
		}
		seen, ok := s.sightings[p]
		if !ok || seen.stamp != st || seen.since.After(now) { // the clock went back
			seen = sighting{stamp: st, since: now}
			s.sightings[p] = seen
		}
		written, known := touched[filepath.Join(s.base, filepath.FromSlash(p))]
		whole := known && !written && st.size > 0 && !leaving
		aged := !s.looked && now.Sub(st.changed()) >= s.times.Quiet
		quiet := now.Sub(seen.since) >= s.times.Quiet
		if !(quiet || whole || aged) || !s.take(p, st, !quiet, owners) {
			s.sighted(p, owners)
			again = true
			continue
		}
		delete(s.sightings, p)
	}
	for p := range s.sightings {
		if _, ok := l.files[p]; !ok && !l.below(p) {
			delete(s.sightings, p)
		}
	}
	return again
}

// settled reports whether a file is as it was when it was read.
func (s *Service) settled(p string, st stamp) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[p]
	if e == nil || e.absent || (!e.read && e.problem == nil) || e.stamp != st {
		return false
	}
	// One that could not be read is tried at each look: rights change without a trace in the file's times.
	return !errors.Is(e.problem, ErrUnreadable)
}

// sighted makes a file that is not whole yet known, so that its path shows up with a reason.
func (s *Service) sighted(p string, owners []Owner) {
	s.mu.Lock()
	e := s.entries[p]
	if e == nil {
		e = s.add(p, owners)
		s.settle(e, Pending, ErrBeingWritten.New("%s is still being written", p))
	}
	s.unlockAndTell(e)
}

// lookForMissing finds files that are gone. One is gone when two looks, Quiet apart, or the first look of all, miss it.
func (s *Service) lookForMissing(l listing, now time.Time) (unsure bool) {
	s.mu.Lock()
	var gone []*entry
	for p, e := range s.entries {
		if _, ok := l.files[p]; ok || e.absent || e.app != "" || l.below(p) {
			delete(s.missing, p)
			continue
		}
		since, ok := s.missing[p]
		if !ok || since.After(now) {
			since = now
			s.missing[p] = now
		}
		if s.looked && now.Sub(since) < s.times.Quiet {
			unsure = true
			continue
		}
		delete(s.missing, p)
		if _, ok := look(s.repo, p); !ok { // Put may have written it since the scan
			e.absent, e.read, e.problem, e.retryAt = true, false, nil, time.Time{}
			gone = append(gone, e)
		}
	}
	s.unlockAndTell(gone...)
	return unsure
}

// take reads a file that seems whole and records its content. It is false if the file was not whole after all.
func (s *Service) take(p string, st stamp, needLease bool, owners []Owner) bool {
	var problem error
	var r reading
	switch st.problem {
	case leavesRepository:
		problem = ErrLeavesRepository.New("%s is a link that leaves the repository or leads nowhere", p)
	case notAFile:
		problem = ErrNotAFile.New("%s is neither a file nor a folder", p)
	default:
		var err error
		_, typ, _ := match(owners, p)
		r, err = readWhole(s.repo, p, st, needLease, typ.InPlace)
		if errors.Is(err, errUnsettled) || errors.Is(err, os.ErrNotExist) {
			return false
		}
		if err != nil {
			problem = ErrUnreadable.Wrap(err, "%s can't be read", p)
		}
	}
	s.mu.Lock()
	if now, ok := look(s.repo, p); !ok || now != st { // Put may have replaced it meanwhile
		s.mu.Unlock()
		return false
	}
	e := s.entries[p]
	if e == nil {
		e = s.add(p, owners)
	}
	s.record(e, st, r, problem)
	s.unlockAndTell(e)
	return true
}

// record notes what lies on disk. The caller holds mu.
func (s *Service) record(e *entry, st stamp, r reading, problem error) {
	s.dirty = true
	switch {
	case problem != nil:
		e.stamp, e.read, e.absent, e.gone, e.problem = st, false, false, false, problem
	case e.inPlace:
		e.content(r.digest, st)
	case r.content == nil && r.size > 0:
		e.content(r.digest, st)
		if e.typ != "" {
			e.problem = ErrTooLarge.New("%s has %d bytes, an artifact may have %d", e.path, r.size, MaxContent)
		}
	default:
		e.content(r.digest, st)
		if e.typ == "" {
			break
		}
		if _, err := s.blobs.put(r.content); err != nil {
			e.read, e.problem = false, ErrDisk.Wrap(err, "the content of %s can't be kept", e.path)
			e.stamp = stamp{} // tried again at the next look
		}
	}
}
