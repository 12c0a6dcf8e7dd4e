package launch

// For the tests of this package.
var ParseCage = parseCage

func TextOf(c Cage) string { return c.text() }
