package dev.carbonado.sdk;

import io.netty.channel.EventLoopGroup;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Runs a component in a process that the kernel has started (docs/protocol.md). */
public final class Carbonado {
  static final int MAX_MESSAGE = 16 << 20;
  /** Above a link's credit, so that flow control never holds up a frame that has credit. */
  static final int WINDOW = 16 << 20;
  static final EventLoopGroup LOOPS = Peer.loops(Math.max(2, Runtime.getRuntime().availableProcessors()));
  static final ExecutorService WORK = Executors.newCachedThreadPool(r -> {
    Thread t = new Thread(r, "work");
    t.setDaemon(true);
    return t;
  });

  private static final int EXIT_BY_HAND = 64;

  private Carbonado() {}

  /** Serves the component until the kernel stops it. It doesn't return. */
  public static void main(Component component) {
    PrintStream stdout = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    String run = System.getenv("PLUGIN_UNIX_SOCKET_DIR");
    if (run == null || System.getenv("CARBONADO_COMPONENT") == null || !Files.exists(Path.of("/proc/self/fd/4"))) {
      System.err.println("This is a component of Carbonado. It is started by `carbonado server`, not by hand.");
      System.exit(EXIT_BY_HAND);
    }
    if (!Arrays.asList(String.valueOf(System.getenv("PLUGIN_PROTOCOL_VERSIONS")).split(",")).contains("1")) {
      System.err.println("This component speaks version 1 of the component protocol; the kernel speaks " + System.getenv("PLUGIN_PROTOCOL_VERSIONS"));
      System.exit(78);
    }
    Log.takeOver();
    ignoreInterrupt();
    try {
      Lifeline line = Lifeline.watch(new FileInputStream("/proc/self/fd/4"), () -> Runtime.getRuntime().halt(Lifeline.EXIT));
      if (!line.known(5)) {
        throw new IOException("the lifeline names no kernel");
      }
      String path = run + "/plugin" + ProcessHandle.current().pid();
      var server = Peer.server(path, LOOPS, line::admits).maxInboundMessageSize(MAX_MESSAGE).flowControlWindow(WINDOW).executor(WORK);
      new Control(component).services().forEach(server::addService);
      var running = server.build().start();
      stdout.print("1|1|unix|" + path + "|grpc|\n");
      stdout.flush();
      running.awaitTermination();
    } catch (Exception e) {
      Log.of("carbonado").error("the component can't serve", e);
      System.exit(1);
    }
  }

  /** ^C goes to the whole group; the kernel decides what happens then. */
  private static void ignoreInterrupt() {
    sun.misc.Signal.handle(new sun.misc.Signal("INT"), s -> {});
  }
}
