package load

import (
	"errors"
	"os"
	"path/filepath"
)

// Deploy puts the stream and its sink into an installation that does not run yet.
func Deploy(home string, indexed bool) error {
	folder := filepath.Join(home, "repository", "deployment", "server")
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "eventstreams", Stream.FileName()+".json"), Stream.JSON(), 0o644),
		os.WriteFile(filepath.Join(folder, "eventsink", SinkName+".xml"), []byte(SinkFile(indexed)), 0o644),
	)
}

// Count is the query that counts the stored events and how many different ones there are; its answer's columns are n and d.
const Count = "CREATE TEMPORARY TABLE e USING CarbonAnalytics OPTIONS (tableName \"" + TableName + "\", schema \"serial LONG\"); SELECT COUNT(*) AS n, COUNT(DISTINCT serial) AS d FROM e"
