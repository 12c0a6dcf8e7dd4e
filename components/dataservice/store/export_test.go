package store

// Crash ends the store as a kill would: nothing is written any more.
func (s *Store) Crash() {
	s.once.Do(func() {
		s.fail(ErrClosed.New("crashed by a test"))
		s.queueMu.Lock()
		s.closing = true
		s.queueMu.Unlock()
		s.kick()
		s.cancel()
		s.wg.Wait()
		_ = s.log.Close()
		s.readers.closeAll()
		if s.keys != nil {
			_ = s.keys.Close()
		}
	})
}

// Checkpoint writes a manifest.
func (s *Store) Checkpoint() error { return s.checkpoint() }

// Compact joins everything that may be joined, however small.
func (s *Store) Compact() error {
	for {
		t, part := s.nextCompaction()
		if t == nil {
			s.trimDeaths()
			return nil
		}
		if err := s.compact(t, part); err != nil {
			return err
		}
	}
}
