package quartz

import (
	"math/bits"
	"time"
)

// Next is when an expression fires next.
type Next struct {
	// At is the time, in the zone asked for.
	At time.Time
	// Never says that it doesn't fire any more; At is zero then.
	Never bool
}

// horizon is how many years Quartz looks ahead.
const horizon = 100

// Next finds the first time after a time at which the expression fires on the clocks of a zone, as Quartz on Java does: a time that
// the clocks skip doesn't fire; one that comes twice is the second one, so what fires every minute rests for the first hour.
func (e *Expression) Next(after time.Time, zone *time.Location) Next {
	// Quartz knows whole seconds.
	start := onWall(after.In(zone).Truncate(time.Second).Add(time.Second), zone)
	y, m, d := start.y, start.m, start.d
	clock := start.clock
	limit := after.In(zone).Year() + horizon
	for y <= limit && y <= MaxYear {
		if y < MinYear || !e.hasYear(y) || e.months&(1<<uint(m)) == 0 {
			y, m, d, clock = nextMonth(y, m)
			continue
		}
		days := e.monthDays(y, m) &^ (1<<uint(d) - 1)
		if days == 0 {
			y, m, d, clock = nextMonth(y, m)
			continue
		}
		day := bits.TrailingZeros64(days)
		if day > d {
			clock = 0
		}
		c, ok := e.clock(clock)
		if !ok {
			d, clock = day+1, 0
			continue
		}
		t := resolve(y, m, day, c, zone)
		if onWall(t, zone) == (wall{y, m, day, c}) {
			return Next{At: t}
		}
		d, clock = day, c+1
	}
	return Next{Never: true}
}

func nextMonth(y, m int) (int, int, int, int) {
	if m == 12 {
		return y + 1, 1, 1, 0
	}
	return y, m + 1, 1, 0
}

// wall is a time as clocks show it; clock counts seconds of the day.
type wall struct{ y, m, d, clock int }

// onWall reads the clocks of a zone.
func onWall(t time.Time, zone *time.Location) wall {
	t = t.In(zone)
	return wall{t.Year(), int(t.Month()), t.Day(), t.Hour()*3600 + t.Minute()*60 + t.Second()}
}

func (e *Expression) hasYear(y int) bool {
	return e.years[(y-MinYear)/64]&(1<<uint((y-MinYear)%64)) != 0
}

// clock finds the first fitting time of day from a second of the day on.
func (e *Expression) clock(from int) (int, bool) {
	h, m, s := from/3600, from/60%60, from%60
	for ; h < 24; h, m, s = h+1, 0, 0 {
		if e.hours&(1<<uint(h)) == 0 {
			continue
		}
		for ; m < 60; m, s = m+1, 0 {
			if e.minutes&(1<<uint(m)) == 0 {
				continue
			}
			if left := e.seconds &^ (1<<uint(s) - 1); left != 0 {
				return h*3600 + m*60 + bits.TrailingZeros64(left), true
			}
		}
	}
	return 0, false
}

// monthDays gives the days of a month on which the expression fires; bit n is day n.
func (e *Expression) monthDays(y, m int) uint64 {
	last := time.Date(y, time.Month(m)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	// weekday of day 1, Sunday 1 … Saturday 7.
	first := int(time.Date(y, time.Month(m), 1, 0, 0, 0, 0, time.UTC).Weekday()) + 1
	weekday := func(d int) int { return (first+d-2)%7 + 1 }
	if e.anyDay {
		return e.weekdaysOf(last, first)
	}
	if !e.lastDay && !e.nearest {
		return e.days & (1<<uint(last+1) - 1)
	}
	day := last - e.lastOffset
	if !e.lastDay {
		day = bits.TrailingZeros64(e.days)
	}
	if day < 1 {
		return 0
	}
	// A day behind the month's last goes through this too, as it does in Quartz: 31W of a month of 30 days is day 30 if the day behind
	// it is a Saturday.
	if e.nearest {
		switch w := weekday(day); {
		case w == 7 && day == 1:
			day += 2
		case w == 7:
			day--
		case w == 1 && day == last:
			day -= 2
		case w == 1:
			day++
		}
	}
	if day > last {
		return 0
	}
	return 1 << uint(day)
}

// weekdaysOf gives the days of a month by the field day of week.
func (e *Expression) weekdaysOf(last, first int) uint64 {
	var days uint64
	if e.lastWeekday || e.nth > 0 {
		w := bits.TrailingZeros64(e.weekdays)
		day := 1 + (w-first+7)%7
		if e.lastWeekday {
			day += (last - day) / 7 * 7
		} else {
			day += (e.nth - 1) * 7
		}
		if day <= last {
			days = 1 << uint(day)
		}
		return days
	}
	for d := 1; d <= last; d++ {
		if e.weekdays&(1<<uint((first+d-2)%7+1)) != 0 {
			days |= 1 << uint(d)
		}
	}
	return days
}

// resolve finds the time of a clock's reading as Java's calendar does; a reading that the clocks skip gives another one's time.
func resolve(y, m, d, clock int, zone *time.Location) time.Time {
	// The reading taken as UTC, less the zone's offset, is the time. Before and after a change two offsets may fit.
	utc := time.Date(y, time.Month(m), d, 0, 0, clock, 0, time.UTC)
	_, early := utc.Add(-26 * time.Hour).In(zone).Zone()
	_, late := utc.Add(26 * time.Hour).In(zone).Zone()
	// The second of a reading that comes twice is by the later offset, if that is in force at the time it gives.
	t := utc.Add(-time.Duration(late) * time.Second).In(zone)
	if _, off := t.Zone(); off == late {
		return t
	}
	return utc.Add(-time.Duration(early) * time.Second).In(zone)
}
