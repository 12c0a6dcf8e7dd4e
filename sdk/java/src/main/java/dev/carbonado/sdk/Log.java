package dev.carbonado.sdk;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogManager;
import java.util.logging.LogRecord;

/** Writes hclog's JSON, one object a line, to the real standard error, from which the kernel logs it. Safe for concurrent use. */
public final class Log {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);
  private static final OutputStream ERR = new FileOutputStream(FileDescriptor.err);

  private final String module;

  private Log(String module) {
    this.module = module;
  }

  public static Log of(String module) {
    return new Log(module);
  }

  public void debug(String message, Object... fields) {
    write("debug", message, null, fields);
  }

  public void info(String message, Object... fields) {
    write("info", message, null, fields);
  }

  public void warn(String message, Object... fields) {
    write("warn", message, null, fields);
  }

  public void error(String message, Throwable why, Object... fields) {
    write("error", message, why, fields);
  }

  /** fields are names and values in turn; a stack trace becomes one field. */
  private void write(String level, String message, Throwable why, Object... fields) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("@level", level);
    line.put("@message", message == null ? "" : message);
    line.put("@timestamp", TIME.format(Instant.now()));
    line.put("@module", module);
    for (int i = 0; i + 1 < fields.length; i += 2) {
      line.put(String.valueOf(fields[i]), String.valueOf(fields[i + 1]));
    }
    if (why != null) {
      StringWriter stack = new StringWriter();
      why.printStackTrace(new PrintWriter(stack));
      line.put("error", String.valueOf(why));
      line.put("stack", stack.toString());
    }
    try {
      byte[] b = (JSON.writeValueAsString(line) + "\n").getBytes(StandardCharsets.UTF_8);
      synchronized (ERR) {
        ERR.write(b);
      }
    } catch (JsonProcessingException e) {
      throw new AssertionError(e);
    } catch (IOException e) {
      // The kernel is gone; the lifeline ends the process.
    }
  }

  /** Sends what libraries log by java.util.logging, and what anybody prints, to the log. */
  static void takeOver() {
    LogManager.getLogManager().reset();
    java.util.logging.Logger root = java.util.logging.Logger.getLogger("");
    root.setLevel(Level.WARNING);
    root.addHandler(new Handler() {
      @Override
      public void publish(LogRecord r) {
        if (r.getLoggerName() != null && r.getMessage() != null && r.getMessage().startsWith("Unknown channel option")) {
          return; // netty on a Unix socket
        }
        of(r.getLoggerName()).write(r.getLevel().intValue() >= Level.SEVERE.intValue() ? "error" : "warn", r.getMessage(), r.getThrown());
      }

      @Override
      public void flush() {}

      @Override
      public void close() {}
    });
    System.setOut(lines("info"));
    System.setErr(lines("warn"));
  }

  private static PrintStream lines(String level) {
    return new PrintStream(new OutputStream() {
      private final java.io.ByteArrayOutputStream line = new java.io.ByteArrayOutputStream();

      @Override
      public synchronized void write(int b) {
        if (b != '\n') {
          line.write(b);
          return;
        }
        of("print").write(level, line.toString(StandardCharsets.UTF_8), null);
        line.reset();
      }
    }, true, StandardCharsets.UTF_8);
  }
}
