//! Layers: the translation between the wire and `functions`.

use std::sync::Arc;

use base::{Arn, Scope};
use functions::{LayerName, LayerUse, LayerVersion, NewLayer};
use wire::lambda::*;
use wire::{Call, ServiceError, only};

use super::super::page::page;
use super::{LambdaService, SERVICE, bad_marker, failed, invalid, page_size};

/// Layers and versions on a page ("ListLayers": 50 at most).
const ITEMS_A_PAGE: usize = 50;

/// A layer by its name or its ARN, in the caller's account and region.
fn layer_name(scope: &Scope, text: String) -> Result<LayerName, ServiceError> {
    if !text.starts_with("arn:") {
        return text.try_into().map_err(failed);
    }
    let arn: Arn = text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))?;
    let name = arn.resource_of("layer").filter(|_| arn.service() == "lambda" && arn.scope().as_ref() == Some(scope));
    let name = name.ok_or_else(|| invalid(format!("{arn} is not the ARN of a layer of this account and region")))?;
    name.to_owned().try_into().map_err(failed)
}

fn number(scope: &Scope, name: &LayerName, number: i64) -> Result<u64, ServiceError> {
    u64::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| {
        invalid(format!(
            "Layer Version Cannot be less than 1: arn:aws:lambda:{}:{}:layer:{name}:{number}",
            scope.region, scope.account
        ))
    })
}

/// Name and number in the ARN of a layer version.
fn address(scope: &Scope, text: &str) -> Result<(LayerName, u64), ServiceError> {
    let (layer, version) = text.rsplit_once(':').unwrap_or((text, ""));
    let name = layer_name(scope, layer.to_owned())?;
    let version = version.parse().map_err(|_| invalid(format!("{text} is not the ARN of a layer version")))?;
    let version = number(scope, &name, version)?;
    Ok((name, version))
}

fn listed(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn created(layer: &LayerVersion) -> Option<String> {
    Some(layer.created.format("%Y-%m-%dT%H:%M:%S%.3f+0000"))
}

fn version_number(layer: &LayerVersion) -> Option<i64> {
    i64::try_from(layer.number).ok()
}

/// A layer version as the service shows it. Without a location: archives are not given out.
fn shown(layer: &LayerVersion) -> GetLayerVersionOutput {
    GetLayerVersionOutput {
        content: Some(LayerVersionContentOutput {
            code_sha256: Some(layer.code.sha256.clone()),
            code_size: i64::try_from(layer.code.size).ok(),
            ..Default::default()
        }),
        layer_arn: Some(layer.layer_arn().to_string()),
        layer_version_arn: Some(layer.arn().to_string()),
        description: Some(layer.description.clone()),
        created_date: created(layer),
        version: version_number(layer),
        compatible_architectures: listed(&layer.architectures),
        compatible_runtimes: listed(&layer.runtimes),
        license_info: (!layer.license.is_empty()).then(|| layer.license.clone()),
    }
}

fn item(layer: &LayerVersion) -> LayerVersionsListItem {
    LayerVersionsListItem {
        layer_version_arn: Some(layer.arn().to_string()),
        version: version_number(layer),
        description: Some(layer.description.clone()),
        created_date: created(layer),
        compatible_architectures: listed(&layer.architectures),
        compatible_runtimes: listed(&layer.runtimes),
        license_info: (!layer.license.is_empty()).then(|| layer.license.clone()),
    }
}

/// Whether a layer says that it is for what is asked about; what says nothing is for nothing in particular.
fn is_for(layer: &LayerVersion, runtime: Option<&str>, architecture: Option<&str>) -> bool {
    let names = |list: &[String], wanted: Option<&str>| wanted.is_none_or(|wanted| list.iter().any(|l| l == wanted));
    names(&layer.runtimes, runtime) && names(&layer.architectures, architecture)
}

impl LambdaService {
    /// The layers that a function asks for, by their ARNs.
    pub(super) fn layers_of(&self, call: &Call, arns: Vec<String>) -> Result<Vec<LayerUse>, ServiceError> {
        let arns = arns.iter().map(|text| text.parse().map_err(|e: base::ArnError| invalid(e.to_string())));
        let arns = arns.collect::<Result<Vec<Arn>, _>>()?;
        self.functions.layers_by_arn(&call.scope, &arns).map_err(failed)
    }

    pub(super) async fn new_layer(
        &self,
        call: &Call,
        mut input: PublishLayerVersionInput,
    ) -> Result<PublishLayerVersionOutput, ServiceError> {
        only(SERVICE, &input.content, &["ZipFile"])?;
        let name = layer_name(&call.scope, input.layer_name)?;
        let archive = input.content.zip_file.take().ok_or_else(super::no_code)?;
        let architectures = input.compatible_architectures.unwrap_or_default();
        let new = NewLayer {
            description: input.description.unwrap_or_default(),
            runtimes: input.compatible_runtimes.unwrap_or_default(),
            architectures,
            license: input.license_info.unwrap_or_default(),
        };
        let layer = self.functions.publish_layer(&call.scope, &name, new, archive).await.map_err(failed)?;
        let shown = shown(&layer);
        Ok(PublishLayerVersionOutput {
            content: shown.content,
            layer_arn: shown.layer_arn,
            layer_version_arn: shown.layer_version_arn,
            description: shown.description,
            created_date: shown.created_date,
            version: shown.version,
            compatible_architectures: shown.compatible_architectures,
            compatible_runtimes: shown.compatible_runtimes,
            license_info: shown.license_info,
        })
    }

    pub(super) fn one_layer(
        &self,
        call: &Call,
        input: GetLayerVersionInput,
    ) -> Result<GetLayerVersionOutput, ServiceError> {
        let name = layer_name(&call.scope, input.layer_name)?;
        let number = number(&call.scope, &name, input.version_number)?;
        Ok(shown(&*self.functions.layer(&call.scope, &name, number).map_err(failed)?))
    }

    pub(super) fn layer_by_arn(&self, call: &Call, arn: &str) -> Result<GetLayerVersionOutput, ServiceError> {
        let (name, number) = address(&call.scope, arn)?;
        Ok(shown(&*self.functions.layer(&call.scope, &name, number).map_err(failed)?))
    }

    pub(super) fn all_layers(&self, call: &Call, input: ListLayersInput) -> Result<ListLayersOutput, ServiceError> {
        let (runtime, architecture) = (input.compatible_runtime.as_deref(), input.compatible_architecture.as_deref());
        let all = self.functions.layers(&call.scope);
        // The latest version that is for what is asked about, which may not be the latest of all.
        let matching: Vec<Arc<LayerVersion>> = all
            .iter()
            .filter_map(|latest| {
                let versions = self.functions.layer_versions(&call.scope, &latest.name);
                versions.into_iter().rev().find(|version| is_for(version, runtime, architecture))
            })
            .collect();
        let size = page_size(input.max_items, ITEMS_A_PAGE);
        let (layers, next_marker) =
            page(matching, |layer| layer.name.to_string(), size, input.marker.as_deref()).map_err(bad_marker)?;
        let layers = layers.iter().map(|layer| LayersListItem {
            layer_name: Some(layer.name.to_string()),
            layer_arn: Some(layer.layer_arn().to_string()),
            latest_matching_version: Some(item(layer)),
        });
        Ok(ListLayersOutput { layers: Some(layers.collect()), next_marker })
    }

    pub(super) fn all_layer_versions(
        &self,
        call: &Call,
        input: ListLayerVersionsInput,
    ) -> Result<ListLayerVersionsOutput, ServiceError> {
        let name = layer_name(&call.scope, input.layer_name)?;
        let (runtime, architecture) = (input.compatible_runtime.as_deref(), input.compatible_architecture.as_deref());
        let mut versions = self.functions.layer_versions(&call.scope, &name);
        versions.retain(|version| is_for(version, runtime, architecture));
        // The newest come first, so places on pages count down.
        versions.reverse();
        let size = page_size(input.max_items, ITEMS_A_PAGE);
        let place = |layer: &Arc<LayerVersion>| format!("{:020}", u64::MAX - layer.number);
        let (versions, next_marker) = page(versions, place, size, input.marker.as_deref()).map_err(bad_marker)?;
        let versions = versions.iter().map(|layer| item(layer)).collect();
        Ok(ListLayerVersionsOutput { layer_versions: Some(versions), next_marker })
    }

    pub(super) async fn no_layer(&self, call: &Call, input: DeleteLayerVersionInput) -> Result<(), ServiceError> {
        let name = layer_name(&call.scope, input.layer_name)?;
        let number = number(&call.scope, &name, input.version_number)?;
        self.functions.delete_layer(&call.scope, &name, number).await.map_err(failed)
    }
}
