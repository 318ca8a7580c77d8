//! How metric families are made, registered and thinned out.
//!
//! Only `metrics` uses this: it holds the list of families, this file what is the same for all of them.

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::{LabelPair, MetricFamily};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// Makes families and registers them.
pub(super) struct Families<'a> {
    pub(super) registry: &'a Registry,
}

impl Families<'_> {
    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::with_opts(opts(name, help))?)
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(opts(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::with_opts(opts(name, help))?)
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(opts(name, help), labels)?)
    }

    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(opts)?)
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels)?)
    }

    pub(super) fn build_info(&self) -> Result<(), prometheus::Error> {
        let opts = opts("build_info", "The program.").const_label("version", env!("CARGO_PKG_VERSION"));
        self.register(Gauge::with_opts(opts)?)?.set(1.0);
        Ok(())
    }

    fn register<F: Collector + Clone + 'static>(&self, family: F) -> Result<F, prometheus::Error> {
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("scopegate")
}

/// `process_*` have no prefix: dashboards know them by these names.
#[cfg(target_os = "linux")]
pub(super) fn register_process(registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn register_process(_registry: &Registry) -> Result<(), prometheus::Error> {
    Ok(())
}

/// Removes the series of a family for which `is_gone` says so.
pub(super) fn drop_series<T: MetricVecBuilder>(family: &MetricVec<T>, is_gone: impl Fn(Labels<'_>) -> bool)
where
    MetricVec<T>: Collector,
{
    let names = family
        .desc()
        .first()
        .map(|desc| desc.variable_labels.clone())
        .unwrap_or_default();
    let collected = family.collect();
    for metric in collected.iter().flat_map(MetricFamily::get_metric) {
        let labels = Labels(metric.get_label());
        if is_gone(labels) {
            let values: Vec<&str> = names.iter().map(|name| labels.get(name)).collect();
            // It was there a moment ago; if another call removed it, it is gone all the same.
            let _ = family.remove_label_values(&values);
        }
    }
}

/// The labels of one series.
#[derive(Clone, Copy)]
pub(super) struct Labels<'a>(&'a [LabelPair]);

impl<'a> Labels<'a> {
    pub(super) fn get(self, name: &str) -> &'a str {
        self.0
            .iter()
            .find(|pair| pair.name() == name)
            .map_or("", |pair| pair.value())
    }
}

/// Seconds: 1 µs … 10 ms; a cached decision takes 1 µs, an RSA verification 25 µs, a wait for keys up to a second.
pub(super) const AUTH_BUCKETS: &[f64] = &[
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_05,
    0.000_1,
    0.000_25,
    0.000_5,
    0.001,
    0.01,
    0.1,
    1.0,
];
/// Seconds: 1 ms … 10 s.
pub(super) const REQUEST_BUCKETS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Seconds: 10 ms … 10 s.
pub(super) const FETCH_BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
