//! Takes `null` out of the schemas: optional fields of this API are left out, never null.

use utoipa::openapi::{
    RefOr, Schema,
    schema::{ArrayItems, SchemaType, Type},
};

/// Removes the alternative `null` everywhere in a schema.
pub(super) fn remove_nulls(schema: &mut RefOr<Schema>) {
    let RefOr::T(inner) = schema else { return };
    match inner {
        Schema::Object(object) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|word| *word != Type::Null);
                if let [single] = types.as_slice() {
                    object.schema_type = SchemaType::Type(single.clone());
                }
            }
            object.properties.values_mut().for_each(remove_nulls);
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                remove_nulls(items);
            }
        }
        Schema::OneOf(any) => {
            any.items.retain(|item| !is_null(item));
            any.items.iter_mut().for_each(remove_nulls);
            if any.items.len() == 1
                && let Some(mut single) = any.items.pop()
            {
                if let (RefOr::Ref(reference), Some(description)) = (&mut single, any.description.take()) {
                    reference.description = description;
                }
                *schema = single;
            }
        }
        Schema::AllOf(all) => all.items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if matches!(object.schema_type, SchemaType::Type(Type::Null)))
}
