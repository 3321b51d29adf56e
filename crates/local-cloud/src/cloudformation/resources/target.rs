//! Carries out the calls of a type's table for one resource.

use std::time::Duration;

use serde_json::{Map, Value};

use super::errors::{existing, failed_part, is_duplicate, is_refused};
use super::table::{
    Argument, Call, Elements, Find, List, Search, Setting, Source, State, Type, When,
};
use super::wire::{as_text, created_tags, items, put, spelled_keys, spelled_tags};
use super::{list, tags as tags_of};
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::cloud::caller::Caller;
use crate::cloudformation::template::text_of;
use crate::{Cloud, clock};

/// Time between two checks of a resource's state.
const POLL: Duration = Duration::from_millis(20);

/// The resource that a step works on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) kind: &'a Type,
    /// Its properties: functions evaluated, scalars converted to the types of the service's API.
    pub(crate) properties: &'a Map<String, Value>,
    /// In an update, the previous properties.
    pub(crate) previous: Option<&'a Map<String, Value>>,
    /// Its name: the one in the template, or a generated one. For types without names, a token of the
    /// create call.
    pub(crate) name: &'a str,
    /// Its physical id. Empty before the create call.
    pub(crate) physical: &'a str,
}

/// A resource after its create call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Created {
    /// The physical id: the value of `Ref`.
    pub(crate) physical: String,
    /// The values of `Fn::GetAtt`.
    pub(crate) attributes: Map<String, Value>,
}

/// The progress of a resource.
enum Standing {
    Wanted,
    Pending,
    Failed(String),
}

impl<'a> Target<'a> {
    /// A property.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.properties.get(name)
    }

    /// A property as text.
    pub(super) fn text(&self, name: &str) -> String {
        self.get(name).map(text_of).unwrap_or_default()
    }

    /// True if one of the properties changes: in an update, or because a new resource has it.
    pub(super) fn changes(&self, mut properties: impl Iterator<Item = &'static str>) -> bool {
        properties.any(|name| {
            let previous = self.previous.and_then(|previous| previous.get(name));
            previous != self.get(name)
        })
    }

    /// Calls the type's service.
    pub(super) async fn request(
        &self,
        operation: &str,
        mut input: Map<String, Value>,
    ) -> ApiResult<Value> {
        if self.cloud.services().named(self.kind.service)?.is_form() {
            input = input
                .into_iter()
                .map(|(name, value)| (name, as_text(value)))
                .collect();
        }
        let input = Value::Object(input);
        let answer = self.cloud.call(self.kind.service, operation, input);
        failed_part(answer.await?)
    }

    /// Makes a call; `part` is the value at hand.
    pub(super) async fn call(&self, call: &Call, part: &Value) -> ApiResult<Value> {
        let input = self.input(call, part)?;
        self.request(call.operation, input).await
    }

    /// The same for a call that removes something: success if it is gone.
    pub(super) async fn remove(&self, operation: &str, input: Map<String, Value>) -> ApiResult<()> {
        match self.request(operation, input).await {
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        }
    }

    /// The input of a call.
    pub(super) fn input(&self, call: &Call, part: &Value) -> ApiResult<Map<String, Value>> {
        let mut input = Map::new();
        for argument in call.arguments {
            if let Some(value) = self.argument(argument, part)? {
                put(&mut input, argument.member, value);
            }
        }
        Ok(input)
    }

    fn argument(&self, argument: &Argument, part: &Value) -> ApiResult<Option<Value>> {
        if argument.only_changed && !self.changes(argument.properties()) {
            return Ok(None);
        }
        let value = self.value(argument.source, part)?;
        match (value, argument.form, argument.default) {
            (Some(value), Some(form), _) => form(&value, self.properties).map(Some),
            (None, _, Some(default)) => self.json(default).map(Some),
            (value, _, _) => Ok(value),
        }
    }

    /// The value of a source; `part` is the value at hand.
    pub(super) fn value(&self, source: Source, part: &Value) -> ApiResult<Option<Value>> {
        let pick = |names: &str| -> Map<String, Value> {
            let names = names.split_ascii_whitespace();
            names
                .filter_map(|name| Some((name.to_owned(), self.get(name)?.clone())))
                .collect()
        };
        let only_in =
            |of: Option<&Map<String, Value>>, other: Option<&Map<String, Value>>, name| {
                let others = other.map(|other| list(other, name)).unwrap_or_default();
                let mut found = of.map(|of| list(of, name)).unwrap_or_default();
                found.retain(|element| !others.contains(element));
                (!found.is_empty()).then_some(Value::Array(found))
            };
        Ok(match source {
            Source::Same(names) => Some(pick(names))
                .filter(|found| !found.is_empty())
                .map(Value::Object),
            Source::Object(names) => Some(Value::Object(pick(names))),
            Source::Property(path) => path
                .split('/')
                .try_fold(None, |outer: Option<&Value>, name| {
                    let found = match outer {
                        None => self.get(name),
                        Some(outer) => outer.get(name),
                    };
                    found.map(Some)
                })
                .flatten()
                .cloned(),
            Source::Previous(name) => self
                .previous
                .and_then(|previous| previous.get(name))
                .cloned(),
            Source::Added(name) => only_in(Some(self.properties), self.previous, name),
            Source::Removed(name) => only_in(self.previous, Some(self.properties), name),
            Source::Dropped(name) => {
                let had = self.previous.is_some_and(|had| had.contains_key(name));
                (had && self.get(name).is_none()).then_some(Value::Bool(true))
            }
            Source::Name => Some(self.name.into()),
            Source::Physical => Some(self.physical.into()),
            Source::Token => Some(uuid::Uuid::new_v4().simple().to_string().into()),
            Source::Part(pointer) => part
                .pointer(pointer)
                .filter(|part| !part.is_null())
                .cloned(),
            Source::Text(template) => Some(self.fill(template).into()),
            Source::Json(template) => Some(self.json(template)?),
        })
    }

    /// The value of a source that must have one.
    fn required(&self, source: Source, part: &Value) -> ApiResult<Value> {
        let value = self.value(source, part)?;
        value.ok_or_else(|| match source {
            Source::Part(pointer) => {
                ApiError::internal(format!("the service's response has no {pointer}"))
            }
            other => ApiError::internal(format!("{other:?} of {} has no value", self.kind.name)),
        })
    }

    fn json(&self, template: &str) -> ApiResult<Value> {
        serde_json::from_str(&self.fill(template)).map_err(ApiError::internal)
    }

    /// Fills the placeholders of a text: `{name}`, `{physical}`, `{region}`, `{account}`, `{endpoint}`,
    /// `{token}`, `{uuid}`, and `{PROPERTY}`.
    pub(super) fn fill(&self, template: &str) -> String {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let name = after.split('}').next().unwrap_or_default();
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
            if !is_name || !after[name.len()..].starts_with('}') {
                filled.push('{');
                rest = after;
                continue;
            }
            match name {
                "name" => filled.push_str(self.name),
                "physical" => filled.push_str(self.physical),
                "region" => filled.push_str(self.cloud.region()),
                "account" => filled.push_str(ACCOUNT),
                "endpoint" => filled.push_str(self.cloud.endpoint()),
                "token" => filled.push_str(&uuid::Uuid::new_v4().simple().to_string()),
                "uuid" => filled.push_str(&uuid::Uuid::new_v4().to_string()),
                property => filled.push_str(&self.text(property)),
            }
            rest = &after[name.len() + 1..];
        }
        filled + rest
    }

    /// Creates the resource.
    pub(super) async fn create(&self) -> ApiResult<Created> {
        let answer = match &self.kind.create {
            None => Value::Null,
            Some(call) => {
                let mut input = self.input(call, &Value::Null)?;
                if let Some(tags) = self.kind.tags
                    && !tags_of(self.properties).is_empty()
                {
                    put(&mut input, tags.create, created_tags(tags, self.properties));
                }
                self.request(call.operation, input).await?
            }
        };
        let physical = text_of(&self.required(self.kind.id, &answer)?);
        let created = Target {
            physical: &physical,
            ..*self
        };
        let mut attributes = created.described().await?;
        for (name, source) in self.kind.attributes {
            let value = match source {
                Source::Property(property) => created.text(property).into(),
                source => created.required(*source, &answer)?,
            };
            attributes.insert((*name).to_owned(), value);
        }
        Ok(Created {
            physical,
            attributes,
        })
    }

    /// The attributes that the `described` call returns.
    async fn described(&self) -> ApiResult<Map<String, Value>> {
        let Some((call, attributes)) = self.kind.described else {
            return Ok(Map::new());
        };
        let answer = self.call(&call, &Value::Null).await?;
        let value = |pointer: &'static str| self.required(Source::Part(pointer), &answer);
        attributes
            .iter()
            .map(|(name, pointer)| Ok(((*name).to_owned(), value(pointer)?)))
            .collect()
    }

    /// Waits until the resource is ready, and writes its settings.
    pub(super) async fn settle(&self) -> ApiResult<()> {
        if let Some(state) = &self.kind.stable {
            self.reach(state).await?;
        }
        self.write().await
    }

    /// Writes the settings and lists that have changed.
    async fn write(&self) -> ApiResult<()> {
        for setting in self.kind.settings {
            self.set(setting).await?;
        }
        for list in self.kind.lists {
            self.fit(list).await?;
        }
        Ok(())
    }

    async fn set(&self, setting: &Setting) -> ApiResult<()> {
        let due = match setting.when {
            When::Always => true,
            When::OnCreate => self.previous.is_none(),
            When::OnUpdate => self.previous.is_some(),
        };
        if !due || !self.changes(setting.causes()) {
            return Ok(());
        }
        let sets = match setting.switch {
            Some((property, default)) => {
                let value = self.get(property).map_or(default, |value| value == true);
                if value == default && self.previous.is_none() {
                    return Ok(());
                }
                value
            }
            None => self.has_value(&setting.set)?,
        };
        let call = if sets {
            Some(setting.set)
        } else {
            setting.clear
        };
        if let Some(call) = call {
            match self.call(&call, &Value::Null).await {
                Err(error) if setting.done_already.contains(&error.code.as_str()) => {}
                answer => drop(answer?),
            }
            if let Some(state) = &self.kind.stable {
                self.reach(state).await?;
            }
        }
        Ok(())
    }

    /// True if one of the properties that cause the call has a value.
    fn has_value(&self, call: &Call) -> ApiResult<bool> {
        for argument in call.arguments {
            if !argument.is_key
                && argument.properties().next().is_some()
                && self.argument(argument, &Value::Null)?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds and removes the elements of a list that have changed.
    async fn fit(&self, list: &List) -> ApiResult<()> {
        let none = Map::new();
        let before = Target {
            properties: self.previous.unwrap_or(&none),
            ..*self
        };
        let (kept, removed) = (
            self.inputs(list, &list.remove)?,
            before.inputs(list, &list.remove)?,
        );
        let (had, added) = (
            before.inputs(list, &list.add)?,
            self.inputs(list, &list.add)?,
        );
        let removed = without(removed, &kept);
        let added = without(added, &had);
        // After an error the others are still added: the roll-back of an update restores every element
        // that the update has removed.
        let mut result = Ok(());
        if list.removes_first {
            result = self.remove_each(list, &removed).await;
        }
        for input in added {
            let added = match self.request(list.add.operation, input).await {
                Err(error) if self.previous.is_some() && is_duplicate(&error) => Ok(()),
                answer => answer.map(drop),
            };
            result = result.and(added);
        }
        if !list.removes_first {
            result?;
            result = self.remove_each(list, &removed).await;
        }
        result
    }

    /// Removes elements; returns the first error.
    async fn remove_each(&self, list: &List, inputs: &[Map<String, Value>]) -> ApiResult<()> {
        let mut result = Ok(());
        for input in inputs {
            let removed = self.remove(list.remove.operation, input.clone()).await;
            // The roll-back of an update also removes what the service refused to add.
            if !matches!(&removed, Err(error) if is_refused(error)) {
                result = result.and(removed);
            }
        }
        result
    }

    /// The inputs of a call for each element of a list.
    fn inputs(&self, list: &List, call: &Call) -> ApiResult<Vec<Map<String, Value>>> {
        let elements = match list.elements {
            Elements::Of(property) => super::list(self.properties, property),
            Elements::By(_, elements) => elements(self.properties),
        };
        let mut inputs = Vec::new();
        for element in &elements {
            inputs.push(self.input(call, element)?);
        }
        Ok(inputs)
    }

    /// Changes the resource; returns the attributes that may have changed.
    pub(super) async fn update(&self) -> ApiResult<Map<String, Value>> {
        if let Some(state) = &self.kind.stable {
            self.rest(state).await?;
        }
        self.write().await?;
        self.retag().await?;
        self.described().await
    }

    /// Replaces the resource's tags with those of the properties.
    pub(super) async fn retag(&self) -> ApiResult<()> {
        let Some(tags) = self.kind.tags else {
            return Ok(());
        };
        if !self.changes(["Tags"].into_iter()) {
            return Ok(());
        }
        let id = self.api_id().await?;
        let target = Target {
            physical: &id,
            ..*self
        };
        let resource = target.argument(&tags.resource, &Value::Null)?;
        let resource = resource.unwrap_or_default();
        let keys = |of: &Map<String, Value>| -> Vec<Value> {
            let tags = tags_of(of);
            tags.iter()
                .filter_map(|tag| tag.get("Key").cloned())
                .collect()
        };
        let kept = keys(self.properties);
        let mut removed = self.previous.map(keys).unwrap_or_default();
        removed.retain(|key| !kept.contains(key));
        for (operation, member, value) in [
            (tags.remove, tags.keys, spelled_keys(tags, removed)),
            (tags.set, tags.list, spelled_tags(tags, self.properties)),
        ] {
            if let Some(value) = value {
                let mut input = Map::new();
                put(&mut input, tags.resource.member, resource.clone());
                put(&mut input, member, value);
                self.request(operation, input).await?;
            }
        }
        Ok(())
    }

    /// Deletes the resource and waits until it is gone.
    pub(super) async fn delete(&self) -> ApiResult<()> {
        for list in self.kind.lists.iter().filter(|list| list.empties) {
            let inputs = self.inputs(list, &list.remove)?;
            self.remove_each(list, &inputs).await?;
        }
        if let Some(call) = &self.kind.delete {
            let id = self.api_id().await?;
            let target = Target {
                physical: &id,
                ..*self
            };
            match target.call(call, &Value::Null).await {
                Err(error) if self.kind.deleted_already.contains(&error.code.as_str()) => {}
                answer => drop(answer?),
            }
        }
        match &self.kind.deleting {
            Some(state) => self.vanish(state).await,
            None => Ok(()),
        }
    }

    fn standing(&self, state: &State, answer: &Value) -> Standing {
        let mut failed = None;
        for (pointer, reason) in state.states {
            let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
            match text(pointer) {
                Some(is) if state.wanted.contains(&is) => {}
                Some(is) if !state.failed.contains(&is) => return Standing::Pending,
                is => {
                    let reason = text(reason).unwrap_or("no reason was given");
                    failed.get_or_insert_with(|| {
                        let message = state.message.replace("{physical}", self.physical);
                        let message = message.replace("{state}", is.unwrap_or("deleted"));
                        message.replace("{reason}", reason)
                    });
                }
            }
        }
        failed.map_or(Standing::Wanted, Standing::Failed)
    }

    /// Waits until the resource is in a final state, wanted or failed; returns the response with the state.
    pub(super) async fn rest(&self, state: &State) -> ApiResult<Value> {
        loop {
            let answer = self.call(&state.call, &Value::Null).await?;
            match self.standing(state, &answer) {
                Standing::Pending => clock::sleep(POLL).await,
                Standing::Wanted | Standing::Failed(_) => return Ok(answer),
            }
        }
    }

    /// Waits until the resource is in a wanted state; returns the response with the state.
    pub(super) async fn reach(&self, state: &State) -> ApiResult<Value> {
        let answer = self.rest(state).await?;
        match self.standing(state, &answer) {
            Standing::Failed(message) => Err(ApiError::new("NotStabilized", message)),
            _ => Ok(answer),
        }
    }

    /// Waits until the resource is gone, or in a wanted state.
    async fn vanish(&self, state: &State) -> ApiResult<()> {
        match self.reach(state).await {
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        }
    }

    /// The ids of the existing resources that a create call with these properties would create or
    /// conflict with.
    pub(super) async fn find(&self) -> ApiResult<Vec<String>> {
        match &self.kind.find {
            Find::By(search) => self.search(search).await,
            Find::Code | Find::Nothing(_) => Ok(Vec::new()),
        }
    }

    /// The id for the calls that change or delete the resource.
    async fn api_id(&self) -> ApiResult<String> {
        let Some(search) = &self.kind.api_id else {
            return Ok(self.physical.to_owned());
        };
        let found = self.search(search).await?.into_iter().next();
        found.ok_or_else(|| super::absent(self.kind, self.physical))
    }

    async fn search(&self, search: &Search) -> ApiResult<Vec<String>> {
        // AWS makes no such call, so it needs no permission.
        let answer = self.call(&search.call, &Value::Null);
        let Some(answer) = existing(Caller::LocalCloud.scope(answer).await)? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for item in items(&answer, search.items) {
            let mut matches = !search.is_tagged || self.has_system_tags(&item["tagSet"]);
            for (pointer, wanted) in search.equal {
                let wanted = self.value(*wanted, item)?;
                matches &= wanted.is_some_and(|wanted| {
                    item.pointer(pointer).map(text_of) == Some(text_of(&wanted))
                });
            }
            if matches {
                found.push(text_of(&self.required(search.id, item)?));
            }
        }
        Ok(found)
    }

    /// True if a list of tags has those that `CloudFormation` sets on this resource. The tags of EC2 have
    /// members in lower case.
    pub(super) fn has_system_tags(&self, tags: &Value) -> bool {
        let tags = tags.as_array().map_or(&[][..], Vec::as_slice);
        let is = |tag: &Value, own: &Value| {
            ["key", "Key"].iter().any(|key| tag[key] == own["Key"])
                && ["value", "Value"]
                    .iter()
                    .any(|value| tag[value] == own["Value"])
        };
        let own = tags_of(self.properties);
        let mut own = own.iter().filter(|tag| {
            tag["Key"]
                .as_str()
                .is_some_and(crate::system_tags::is_reserved)
        });
        own.all(|own| tags.iter().any(|tag| is(tag, own)))
    }
}

/// The members of `all` that are not in `others`.
fn without<T: PartialEq>(mut all: Vec<T>, others: &[T]) -> Vec<T> {
    all.retain(|one| !others.contains(one));
    all
}
