package dev.carbonado.sdk;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** The pipe whose other end the guardian holds: it names the kernel, and its end ends the process. */
final class Lifeline {
  static final int EXIT = 112;

  private final CountDownLatch first = new CountDownLatch(1);
  private final Runnable ended;
  private volatile long pid;
  private volatile long uid;

  private Lifeline(Runnable ended) {
    this.ended = ended;
  }

  /** Reads lines until the end, then calls ended. */
  static Lifeline watch(InputStream in, Runnable ended) {
    Lifeline l = new Lifeline(ended);
    Thread t = new Thread(() -> l.read(in), "lifeline");
    t.setDaemon(true);
    t.start();
    return l;
  }

  private void read(InputStream in) {
    try (BufferedReader r = new BufferedReader(new InputStreamReader(in, StandardCharsets.US_ASCII))) {
      for (String line = r.readLine(); line != null; line = r.readLine()) {
        String[] f = line.split(" ");
        if (f.length == 3 && f[0].equals("kernel") && f[1].matches("[1-9][0-9]{0,9}") && f[2].matches("[0-9]{1,10}")) {
          uid = Long.parseLong(f[2]);
          pid = Long.parseLong(f[1]);
          first.countDown();
        }
      }
    } catch (IOException e) {
      Log.of("carbonado").error("the lifeline can't be read", e); // as good as its end
    }
    ended.run();
  }

  boolean known(long seconds) throws InterruptedException {
    return first.await(seconds, TimeUnit.SECONDS);
  }

  /** Whether a process is the present kernel; pid 0 is one whose pid can't be read. */
  boolean admits(Peer p) {
    return pid != 0 && (p.pid() == 0 || p.pid() == pid) && (p.uid() == Peer.UNKNOWN || p.uid() == uid);
  }
}
