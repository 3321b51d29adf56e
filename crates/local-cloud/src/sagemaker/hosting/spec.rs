//! What a fleet consists of: everything that is needed to start it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::capture;
use super::configs::CONFIGS;
use super::models::{self, Container, MODELS};
use crate::api::ApiResult;
use crate::{Cloud, clock, ecr};

/// Time within which `/ping` must respond in seconds, unless the variant sets another (developer guide).
const HEALTH_TIMEOUT: u64 = 240;

/// Everything needed to start a fleet. It is stored with the endpoint, so that deleting a model or
/// configuration does not affect it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FleetSpec {
    pub(super) config: String,
    pub(super) variants: Vec<VariantSpec>,
    pub(super) capture: Option<Value>,
}

/// A variant of a fleet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VariantSpec {
    pub(super) name: String,
    pub(super) container: Container,
    /// The ARN of the model's role.
    #[serde(default)]
    pub(super) role: String,
    pub(super) resolved_image: String,
    /// Number of instances.
    pub(super) count: u32,
    pub(super) weight: f64,
    /// In seconds.
    pub(super) health_timeout: u64,
    #[serde(default)]
    pub(super) instance_type: String,
}

/// Variant properties that an update takes from the endpoint as it is, instead of from the new configuration
/// (`RetainAllVariantProperties`, `ExcludeRetainedVariantProperties`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Retained {
    pub(super) counts: bool,
    pub(super) weights: bool,
}

impl FleetSpec {
    /// The fleet of an endpoint configuration, with models and packages looked up.
    pub(super) async fn of(cloud: &Cloud, config: &str) -> ApiResult<Self> {
        let config = CONFIGS.get(cloud, config)?;
        let mut variants = Vec::new();
        for variant in config["ProductionVariants"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let text = |member: &str| variant[member].as_str().unwrap_or_default();
            let model = MODELS.get(cloud, text("ModelName"))?;
            let container = models::container(cloud, &model).await?;
            let image = ecr::images::resolve(cloud, &container.image)?;
            let registry = container.image.split('/').next().unwrap_or_default();
            variants.push(VariantSpec {
                name: text("VariantName").to_owned(),
                resolved_image: format!("{registry}/{}@{}", image.repository, image.digest),
                container,
                role: model["ExecutionRoleArn"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                count: variant["InitialInstanceCount"]
                    .as_u64()
                    .and_then(|count| u32::try_from(count).ok())
                    .unwrap_or(1),
                weight: variant["InitialVariantWeight"].as_f64().unwrap_or(1.0),
                health_timeout: variant["ContainerStartupHealthCheckTimeoutInSeconds"]
                    .as_u64()
                    .unwrap_or(HEALTH_TIMEOUT),
                instance_type: text("InstanceType").to_owned(),
            });
        }
        Ok(Self {
            config: config["EndpointConfigName"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            variants,
            capture: config.get("DataCaptureConfig").cloned(),
        })
    }

    /// The number of instances of each variant.
    pub(super) fn counts(&self) -> Vec<u32> {
        self.variants.iter().map(|variant| variant.count).collect()
    }

    /// Takes properties of the variants that `current` has, too.
    pub(super) fn retain(&mut self, current: &Self, retained: Retained) {
        for variant in &mut self.variants {
            let same = |other: &&VariantSpec| other.name == variant.name;
            let Some(other) = current.variants.iter().find(same) else {
                continue;
            };
            if retained.counts {
                variant.count = other.count;
            }
            if retained.weights {
                variant.weight = other.weight;
            }
        }
    }

    /// `ProductionVariants` of `DescribeEndpoint`.
    pub(super) fn summaries(&self) -> Value {
        self.variants.iter().map(VariantSpec::summary).collect()
    }

    /// `DataCaptureConfig` of `DescribeEndpoint`.
    pub(super) fn capture_summary(&self) -> Option<Value> {
        self.capture.as_ref().map(capture::summary)
    }
}

impl VariantSpec {
    /// The member of `ProductionVariants` of a variant in service.
    pub(super) fn summary(&self) -> Value {
        json!({
            "VariantName": self.name,
            "DeployedImages": [{
                "SpecifiedImage": self.container.image,
                "ResolvedImage": self.resolved_image,
                "ResolutionTime": clock::epoch(),
            }],
            "CurrentWeight": self.weight,
            "DesiredWeight": self.weight,
            "CurrentInstanceCount": self.count,
            "DesiredInstanceCount": self.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(variants: &[(&str, u32, f64)]) -> FleetSpec {
        let variants = variants.iter().map(|(name, count, weight)| {
            let variant = json!({
                "name": name, "container": {"image": "i", "environment": {}}, "resolved_image": "r",
                "count": count, "weight": weight, "health_timeout": 1,
            });
            serde_json::from_value(variant).unwrap()
        });
        FleetSpec {
            variants: variants.collect(),
            ..FleetSpec::default()
        }
    }

    #[test]
    fn retained_properties_are_those_of_the_endpoint() {
        let current = spec(&[("a", 3, 0.5), ("gone", 4, 9.0)]);
        for (counts, weights, wanted) in [
            (false, false, (1, 2.0)),
            (true, false, (3, 2.0)),
            (false, true, (1, 0.5)),
            (true, true, (3, 0.5)),
        ] {
            let mut new = spec(&[("a", 1, 2.0), ("new", 2, 1.0)]);
            new.retain(&current, Retained { counts, weights });
            assert_eq!((new.variants[0].count, new.variants[0].weight), wanted);
            // The endpoint does not have this variant.
            assert_eq!((new.variants[1].count, new.variants[1].weight), (2, 1.0));
        }
    }
}
