package org.wso2.carbon.utils;

/** Stands for the one method of Carbon's class that the data agent calls; Carbon's core is not on Maven Central. */
public final class CarbonUtils {
    private CarbonUtils() {
    }

    /** The folder with data-bridge/data-agent-config.xml. */
    public static String getCarbonConfigDirPath() {
        return System.getProperty("conf");
    }
}
