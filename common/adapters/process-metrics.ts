/** What both daemons tell of their own process. The names are those that Prometheus' own libraries use. */

import { type IntervalHistogram, monitorEventLoopDelay, performance } from "node:perf_hooks";
import { label, type MetricsPage } from "../metrics/page.ts";

/** Milliseconds between two looks at the event loop: each is a wake-up. */
const RESOLUTION = 50;
/** Milliseconds for which percentiles are told before newer ones replace them. */
const WINDOW = 5_000;
const QUANTILES = [0.5, 0.99] as const;
const NANOSECONDS = 1e9; // in a second
const MICROSECONDS = 1e6; // in a second

interface Window {
  readonly quantiles: readonly { readonly quantile: number; readonly seconds: number }[];
  readonly maximum: number;
}

/** Measures from when it is made until it is closed. */
export class ProcessMetrics {
  readonly #program: string;
  readonly #version: string;
  readonly #delay: IntervalHistogram;
  #window: Window = { quantiles: [], maximum: 0 };
  #windowSince = Number.NEGATIVE_INFINITY;
  #delays = 0;
  #delaySeconds = 0;

  constructor(options: { readonly program: string; readonly version: string }) {
    this.#program = options.program;
    this.#version = options.version;
    this.#delay = monitorEventLoopDelay({ resolution: RESOLUTION });
    this.#delay.enable();
  }

  close(): void {
    this.#delay.disable();
  }

  describe(page: MetricsPage): void {
    page
      .metric("hometun_build_info", "gauge", "Which program of which version this is; always 1")
      .add(
        1,
        label("program", this.#program),
        label("version", this.#version),
        label("node", process.versions.node),
      );
    this.#describeDelay(page);
    const { user, system } = process.cpuUsage();
    page.single(
      "process_cpu_seconds_total",
      "counter",
      "Processor time used, all threads together",
      (user + system) / MICROSECONDS,
    );
    const { rss, heapUsed, external } = process.memoryUsage();
    page.single("process_resident_memory_bytes", "gauge", "Memory in RAM", rss);
    page.single(
      "process_start_time_seconds",
      "gauge",
      "When the process started, since 1970",
      performance.timeOrigin / 1000,
    );
    page.single("nodejs_heap_size_used_bytes", "gauge", "JavaScript heap in use", heapUsed);
    page.single(
      "nodejs_external_memory_bytes",
      "gauge",
      "Memory of objects off the heap",
      external,
    );
  }

  /** How late the event loop comes to what it should do: all packets of the userspace data plane wait so long. */
  #describeDelay(page: MetricsPage): void {
    const now = performance.now();
    // A second scraper soon after the first hears the same, instead of an almost empty window.
    if (now - this.#windowSince >= WINDOW) {
      this.#windowSince = now;
      this.#turnWindow();
    }
    const delay = page.metric(
      "hometun_event_loop_delay_seconds",
      "summary",
      "How late the event loop was since the scrape before, measured 20 times a second",
    );
    for (const { quantile, seconds } of this.#window.quantiles) {
      delay.add(seconds, label("quantile", quantile));
    }
    delay.addNamed("_sum", this.#delaySeconds);
    delay.addNamed("_count", this.#delays);
    page.single(
      "hometun_event_loop_delay_max_seconds",
      "gauge",
      "The longest of these delays since the scrape before",
      this.#window.maximum,
    );
  }

  #turnWindow(): void {
    const delay = this.#delay;
    const { count } = delay;
    if (count > 0) {
      this.#window = {
        quantiles: QUANTILES.map((quantile) => ({
          quantile,
          seconds: lateness(delay.percentile(100 * quantile)),
        })),
        maximum: lateness(delay.max),
      };
      this.#delays += count;
      this.#delaySeconds += count * lateness(delay.mean);
    }
    delay.reset();
  }
}

/** Node measures from one look to the next, which should be `RESOLUTION` apart. Seconds. */
function lateness(nanoseconds: number): number {
  const late = nanoseconds / NANOSECONDS - RESOLUTION / 1000;
  return Number(Math.max(0, late).toFixed(6));
}
