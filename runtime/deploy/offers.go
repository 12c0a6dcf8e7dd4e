package deploy

import (
	"slices"
	"time"
)

// wakeRefused hands the refused artifacts of a type once more in a batch: what stood in their way may be gone. The caller
// holds mu.
func (s *Service) wakeRefused(e *entry, batch uint64) {
	for _, x := range s.entries {
		if x != e && x.typ == e.typ && x.state == Faulty && x.read && x.problem == nil && x.breaks < maxBreaks && x.woken != batch {
			x.woken, x.due = batch, true
		}
	}
}

// offer replaces what an artifact offers and wakes those that wait for what is new. What is no longer offered is dropped
// without a word: the owner is only restarting, or withdraw says otherwise. The caller holds mu.
func (s *Service) offer(e *entry, names []string) {
	names = unique(names)
	old := e.offers
	e.offers = names
	for _, n := range names {
		s.offered[n]++
		if s.offered[n] > 1 {
			continue
		}
		for x := range s.needers[n] {
			if x != e && (x.state == Waiting || x.state == Faulty && x.running == "") {
				x.due, x.retryAt, x.retries = true, time.Time{}, 0
			}
		}
	}
	var lost []string
	for _, n := range old {
		if s.offered[n]--; s.offered[n] == 0 {
			delete(s.offered, n)
			lost = append(lost, n)
		}
	}
	if len(names) > 0 {
		s.lost(e, lost)
	}
}

// withdraw takes back all offers and hands those that stand on them again, so that they say that they wait. The caller
// holds mu.
func (s *Service) withdraw(e *entry) {
	old := e.offers
	s.offer(e, nil)
	s.lost(e, slices.DeleteFunc(old, func(n string) bool { return s.offered[n] > 0 }))
}

func (s *Service) lost(e *entry, names []string) {
	for _, n := range names {
		for x := range s.needers[n] {
			if x != e && x.running != "" && !x.absent {
				x.due = true
			}
		}
	}
}

// need replaces the names that an artifact waits for or stands on; an answer without names leaves those it waited for, since
// it stands on them now. The caller holds mu.
func (s *Service) need(e *entry, names []string) {
	if len(names) == 0 && s.entries[e.path] == e && !e.absent {
		return
	}
	for _, n := range e.needs {
		delete(s.needers[n], e)
		if len(s.needers[n]) == 0 {
			delete(s.needers, n)
		}
	}
	e.needs = unique(names)
	for _, n := range e.needs {
		if s.needers[n] == nil {
			s.needers[n] = map[*entry]bool{}
		}
		s.needers[n][e] = true
	}
}

func (s *Service) allOffered(names []string) bool {
	for _, n := range names {
		if s.offered[n] == 0 {
			return false
		}
	}
	return true
}

func unique(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// Provide replaces what is offered beside artifacts: services that components publish, as "service:NAME" and
// "service:NAME?KEY=VALUE". Artifacts that wait for one of them are handed over again, as are those that stood on one that went.
func (s *Service) Provide(names []string) {
	s.mu.Lock()
	old := s.services.offers
	s.offer(&s.services, names)
	if len(names) == 0 {
		s.lost(&s.services, slices.DeleteFunc(old, func(n string) bool { return s.offered[n] > 0 }))
	}
	s.mu.Unlock()
	s.Ring()
}
