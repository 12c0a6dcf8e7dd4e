import org.quartz.CronExpression;
import java.nio.file.*;
import java.text.SimpleDateFormat;
import java.util.*;

/** Writes what Quartz itself says of expressions: java -cp quartz-2.3.2.jar Golden.java cases.txt > golden.txt */
public class Golden {
    public static void main(String[] args) throws Exception {
        for (String line : Files.readAllLines(Paths.get(args[0]))) {
            if (line.isEmpty() || line.startsWith("#")) continue;
            String[] p = line.split("\\|");
            String zone = p[1], expr = p[0];
            int n = Integer.parseInt(p[3]);
            StringBuilder out = new StringBuilder(expr + "|" + zone + "|" + p[2] + "|");
            try {
                CronExpression c = new CronExpression(expr);
                c.setTimeZone(TimeZone.getTimeZone(zone));
                SimpleDateFormat f = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'Z'");
                f.setTimeZone(TimeZone.getTimeZone("UTC"));
                Date t = f.parse(p[2]);
                for (int i = 0; i < n; i++) {
                    t = c.getTimeAfter(t);
                    if (t == null) { out.append(i > 0 ? " never" : "never"); break; }
                    out.append(i > 0 ? " " : "").append(f.format(t));
                }
            } catch (Exception e) { out.append("error"); }
            System.out.println(out);
        }
    }
}
