package deploy

// Polling tells whether some folders are looked at by the clock, since no file events come from them.
func (s *Service) Polling() bool { return s.polling.Load() }
