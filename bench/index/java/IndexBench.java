import java.io.BufferedReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.lucene.analysis.standard.StandardAnalyzer;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.LongField;
import org.apache.lucene.document.SortedDocValuesField;
import org.apache.lucene.document.StringField;
import org.apache.lucene.document.TextField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.Term;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.PhraseQuery;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.store.Directory;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;

/**
 * Indexes the documents of a file with Lucene as DAS's fields had them, several times in one process, and prints the CPU time
 * per document of each pass, merges included. Arguments: documents, index folder, passes, documents per commit.
 */
public final class IndexBench {
  record Row(long seq, long time, String service, String message, String summary, long bytes) {}

  public static void main(String[] args) throws Exception {
    List<Row> rows = new ArrayList<>();
    try (BufferedReader r = Files.newBufferedReader(Path.of(args[0]), StandardCharsets.UTF_8)) {
      for (String line; (line = r.readLine()) != null; ) {
        String[] f = line.split("\t");
        rows.add(new Row(Long.parseLong(f[0]), Long.parseLong(f[1]), f[2], f[3], f[4], Long.parseLong(f[5])));
      }
    }
    int passes = Integer.parseInt(args[2]);
    int perCommit = Integer.parseInt(args[3]);
    var os = (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();
    for (int pass = 0; pass < passes; pass++) {
      Path folder = Path.of(args[1], "pass-" + pass);
      System.gc();
      long cpu = os.getProcessCpuTime(), start = System.nanoTime();
      try (Directory d = FSDirectory.open(folder)) {
        index(d, rows, perCommit);
        cpu = os.getProcessCpuTime() - cpu;
        long took = System.nanoTime() - start;
        long size = 0;
        for (String f : d.listAll()) {
          size += d.fileLength(f);
        }
        try (DirectoryReader reader = DirectoryReader.open(d)) {
          IndexSearcher s = new IndexSearcher(reader);
          System.out.printf("pass %d cpu_us_per_doc %.3f docs_per_s %.0f bytes %d term %d phrase %d%n", pass, cpu / 1e3 / rows.size(),
              rows.size() / (took / 1e9), size, s.count(new TermQuery(new Term("message", "w17"))), s.count(new PhraseQuery("message", "w1", "w2")));
        }
      }
    }
  }

  static void index(Directory d, List<Row> rows, int perCommit) throws Exception {
    try (IndexWriter w = new IndexWriter(d, new IndexWriterConfig(new StandardAnalyzer()))) {
      int n = 0;
      for (Row r : rows) {
        Document doc = new Document();
        doc.add(new LongField("_seq", r.seq, Field.Store.NO));
        doc.add(new LongField("_timestamp", r.time, Field.Store.NO));
        doc.add(new LongField("bytes", r.bytes, Field.Store.NO));
        text(doc, "message", r.message);
        text(doc, "summary", r.summary);
        text(doc, "service", r.service);
        w.addDocument(doc);
        if (++n % perCommit == 0) {
          w.commit();
        }
      }
      w.commit();
    } // close waits for merges
  }

  /** A STRING column: analysed, and untokenised for exact search and sorting. */
  static void text(Document doc, String name, String value) {
    doc.add(new TextField(name, value, Field.Store.NO));
    doc.add(new StringField("_" + name, value, Field.Store.NO));
    doc.add(new SortedDocValuesField("_" + name, new BytesRef(value)));
  }
}
