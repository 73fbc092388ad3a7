//! The rules of `ChatGPT`'s importer and runtime: one table. The checks in `lint` refer to its rows.

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The import fails, what is concerned cannot be used, or nobody has shown that it can.
    Error,
    /// Known to cause trouble.
    Warning,
}

/// One row.
#[derive(Debug)]
pub struct Rule {
    /// Stable name.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// What happens, with the importer's own message where it is known.
    pub reason: &'static str,
    /// What to do.
    pub fix: &'static str,
}

macro_rules! rules {
    ($($name:ident $severity:ident $id:literal $title:literal $reason:literal $fix:literal;)+) => {
        $(pub(super) static $name: Rule =
            Rule { id: $id, severity: Severity::$severity, title: $title, reason: $reason, fix: $fix };)+
        /// All rules.
        pub static RULES: &[&Rule] = &[$(&$name),+];
    };
}

rules! {
    // The document.
    UNREADABLE Error "document-unreadable" "No OpenAPI document"
        "There is nothing to import."
        "Give an OpenAPI 3.1.0 document as JSON or YAML.";
    OPENAPI_VERSION Error "openapi-version" "Not OpenAPI 3.1.0 or 3.1.1"
        "The importer answers \"('openapi',): Input should be '3.1.1' or '3.1.0'\"."
        "Write `openapi: 3.1.0` and convert what differs from 3.0, `nullable` above all.";
    NESTED_OPENAPI Warning "nested-openapi" "A second key `openapi` inside the document"
        "Documents with the key `openapi` in more than one place have been refused."
        "Keep `openapi` at the root only; rename the other one.";
    INFO_INCOMPLETE Warning "info-incomplete" "`info` without title or version"
        "OpenAPI requires both, and the builder shows the title."
        "Add `info.title` and `info.version`, both texts.";
    DOCUMENT_SIZE Warning "document-size" "More than 1 MB"
        "Larger documents are reported to be refused."
        "Leave out operations and answers' details that the GPT does not need.";
    DUPLICATE_KEY Error "duplicate-key" "A key is there twice"
        "Only the last of them counts; the operation or field before it disappears without a word."
        "Remove or rename one of the two.";
    SCHEMAS_MISSING Error "schemas-missing" "`components` without an object `schemas`"
        "The importer answers \"In components section, schemas subsection is not an object\" and drops the document."
        "Add `components.schemas`, even an empty `{}`.";
    // Servers.
    SERVER_MISSING Error "server-missing" "No server"
        "The importer answers \"Could not find a valid URL in `servers`\"."
        "Add `servers` with one entry, the public https address.";
    SERVER_COUNT Error "server-count" "More than one server"
        "The importer answers \"Multiple servers found, using …\": it takes one of them and drops the others."
        "Keep the public https address and remove the others.";
    SERVER_NESTED Error "server-nested" "Servers of a path or an operation"
        "The importer knows one host: \"Found multiple hostnames, dropping …\"."
        "Remove it; give `servers` at the root of the document only.";
    SERVER_RELATIVE Error "server-relative" "The server URL is not absolute"
        "The importer answers \"Could not find a valid URL in `servers`\"."
        "Write the whole address, for example https://mas.example.com.";
    SERVER_HTTPS Error "server-https" "The server URL is not https"
        "The importer answers \"None of the provided servers is under the root origin\"; calls need TLS 1.2 with a public certificate."
        "Put a tunnel or a TLS proxy in front and give its https address.";
    SERVER_VARIABLES Error "server-variables" "The server URL has variables"
        "The importer does not fill them in, so it finds no valid URL."
        "Write the address out and remove `variables`.";
    SERVER_PORT Error "server-port" "The server URL names a port or a user"
        "Calls go to port 443, and the importer answers \"Server URL … is not under the root origin …; ignoring it\"."
        "Serve on port 443 and give the bare host.";
    SERVER_CASE Error "server-case" "Scheme or host of the server have capital letters"
        "The importer compares origins as text: \"Server URL … is not under the root origin …; ignoring it\"."
        "Write scheme and host in small letters.";
    SERVER_HOST Error "server-host" "The server's host is no name that DNS knows"
        "Calls are made to the name as DNS has it; names with other letters stand there in another form, so nobody is found."
        "Write letters, digits, hyphens and dots only: bücher.example is xn--bcher-kva.example.";
    SERVER_SLASH Warning "server-slash" "The server URL ends with a slash or has a query"
        "Paths begin with a slash and are appended as they are, so calls go to `//path`."
        "Remove everything from the final slash on.";
    SERVER_LOCAL Error "server-local" "The server cannot be reached from the internet"
        "Calls come from OpenAI's network, over TLS with a certificate for a public name."
        "Give the public https address of a tunnel or TLS proxy in front of it.";
    SERVER_PLACEHOLDER Warning "server-placeholder" "The server URL looks like a placeholder"
        "An import with it succeeds, and every call fails."
        "Put the real public address in its place.";
    // Authentication.
    SECURITY_NONE Warning "security-none" "No security scheme"
        "The GPT sends no credential, so everybody who finds the address can call it."
        "Add one scheme to `components.securitySchemes`, for example an API key in a header, and require it in `security`.";
    SECURITY_COUNT Error "security-count" "More than one security scheme"
        "The importer answers \"Found multiple security schemes, only 1 is supported\"."
        "Keep one; operations that need none may say `security: []`.";
    SECURITY_TYPE Error "security-type" "A security scheme that actions do not have"
        "The builder offers an API key (basic, bearer or a custom header) and OAuth with an authorization code."
        "Use apiKey in a header, http bearer, http basic, or oauth2 with the authorizationCode flow.";
    SECURITY_UNUSED Warning "security-unused" "The security scheme is required nowhere"
        "Operations that require nothing are called without the credential."
        "Require it with `security` at the root or on the operations.";
    SECURITY_SHAPE Error "security-shape" "A security requirement of the wrong shape"
        "The importer answers \"Input should be a valid list\"."
        "Write a list of objects whose values are lists: `security: [{\"Scheme\": []}]`.";
    SECURITY_UNKNOWN Error "security-unknown" "A security requirement names an unknown scheme"
        "No credential can be found for it."
        "Name the scheme as it is called in `components.securitySchemes`.";
    OAUTH_DOMAIN Warning "oauth-domain" "OAuth on another domain"
        "OAuth URLs must be on the domain of the API; Google, Microsoft and Adobe are the exceptions."
        "Serve the authorization and token URLs on the API's domain.";
    // Operations.
    NO_OPERATIONS Error "no-operations" "Nothing to call"
        "An action needs at least one path with an operation."
        "Add `paths` with the operations the GPT may call.";
    OPERATION_LIMIT Error "operation-limit" "More than 30 operations"
        "The builder answers \"OpenAPI spec can have a maximum of 30 operations\"."
        "Publish a reduced document with what the GPT needs, or split it over two actions on two domains.";
    OPERATION_DUPLICATE Error "operation-duplicate" "Two paths that differ in the names of their parameters only"
        "OpenAPI takes them for the same path; which operation is called is not defined."
        "Merge them, or tell them apart by a fixed part of the path.";
    PATH_REFERENCE Warning "path-reference" "A path that is a reference"
        "References are known to work in bodies and answers; elsewhere, as for parameters, the importer does not follow them."
        "Write the operations out below the path.";
    PATH_SLASH Error "path-slash" "A path that does not begin with a slash"
        "It is appended to the server URL as it is, which makes another host name of it."
        "Begin the path with `/`.";
    METHOD Error "method-unsupported" "A method that actions do not have"
        "The importer answers \"Path … has unrecognized method …; skipping\"."
        "Use get, post, put, patch or delete, in small letters, or leave the operation out.";
    OPERATION_ID_MISSING Error "operation-id-missing" "No operationId"
        "The importer answers \"method … is missing operationId; skipping\"; it is the name the model calls."
        "Give a unique name such as `create_task`.";
    OPERATION_ID_INVALID Error "operation-id-invalid" "An operationId that is no function name"
        "The operationId becomes the name of a function, which has letters, digits, `_` and `-`, 64 characters at most."
        "Rename it, for example to `create_task`.";
    OPERATION_ID_DUPLICATE Error "operation-id-duplicate" "An operationId is there twice"
        "The model calls operations by this name; one of the two cannot be reached."
        "Give each operation a name of its own.";
    OPERATION_TEXT_MISSING Error "operation-text-missing" "Neither summary nor description"
        "The model chooses operations by these words."
        "Say in one sentence what the operation does.";
    OPERATION_TEXT_LONG Error "operation-text-long" "A summary or description of more than 300 characters"
        "The importer answers \"description has length … exceeding limit of 300\" and refuses the whole document."
        "Shorten it; put sequences of steps into the GPT's instructions.";
    CONSEQUENTIAL_MISSING Error "consequential-missing" "`x-openai-isConsequential` is missing"
        "Without it GET may be allowed for ever, and everything else asks the user before every call."
        "Set it: false offers \"Always allow\", true asks every time.";
    CONSEQUENTIAL_TYPE Error "consequential-type" "`x-openai-isConsequential` is not true or false"
        "Only these two values have a meaning; any other may count as missing."
        "Write true or false, without quotes.";
    CONSEQUENTIAL_GET Warning "consequential-get" "A reading operation that asks before every call"
        "The user has to confirm every single read."
        "Set `x-openai-isConsequential` to false; if the call changes something, make it a POST.";
    CONSEQUENTIAL_DELETE Warning "consequential-delete" "A deletion that may be allowed for ever"
        "With false the user is offered \"Always allow\", and later deletions happen without a question."
        "Set `x-openai-isConsequential` to true.";
    // Parameters.
    PARAMETERS_SHAPE Error "parameters-shape" "`parameters` that are no list"
        "OpenAPI has a list there; of anything else no parameter is read, and the call goes without arguments."
        "Write a list: `parameters: [{\"name\": …, \"in\": …}]`.";
    PARAMETER_REFERENCE Error "parameter-reference" "A parameter that is a reference"
        "The importer does not follow it: \"parameter has missing or non-string name; skipping\"."
        "Write the parameter out where it is used.";
    PARAMETER_NAME Error "parameter-name" "A parameter without a name"
        "The importer answers \"parameter has missing or non-string name; skipping\"."
        "Give it a `name`.";
    PARAMETER_LOCATION Error "parameter-location" "A parameter in a header or a cookie"
        "Custom headers are not supported: \"parameter … has location header; ignoring\"."
        "Move it to the query or the body; the API key belongs into the security scheme, not here.";
    PARAMETER_DUPLICATE Error "parameter-duplicate" "The same parameter twice"
        "Name and place tell parameters apart; the model can give one value only, and one of the two is lost."
        "Remove one of them.";
    PARAMETER_TEXT_LONG Error "parameter-text-long" "A parameter's description of more than 700 characters"
        "Descriptions of parameters may have 700 characters."
        "Shorten it.";
    PARAMETER_COMPOUND Error "parameter-compound" "A query or path parameter that is a list or an object"
        "Lists are not sent as repeated parameters; the server sees something else than the document says."
        "Take one text with commas, or use a request body.";
    PARAMETER_SCHEMA_REFERENCE Warning "parameter-schema-reference" "A parameter whose schema is a reference"
        "References in parameters are where the importer is known to fail."
        "Write the schema out at the parameter.";
    PATH_PARAMETER Error "path-parameter" "A placeholder in the path without a parameter"
        "The model has nothing to put there, so the call goes to the braces."
        "Declare it: `in: path`, `required: true`, the name as in the path.";
    PATH_PARAMETER_OPTIONAL Error "path-parameter-optional" "A parameter in the path that may be left out"
        "OpenAPI demands `required: true` there; a model that leaves it out calls a path with braces."
        "Add `required: true`.";
    // Bodies and answers.
    BODY_CONTENT Error "body-content" "A request body that is not application/json"
        "Actions send JSON; the body is dropped, and the operation takes no arguments."
        "Offer `application/json`; files come as links in `openaiFileIdRefs`.";
    BODY_NOT_OBJECT Error "body-not-object" "A request body that is not one plain object"
        "The importer answers \"request body schema is not an object schema; skipping\", then \"skipping function due to errors\"."
        "Make the root `type: object` with `properties`; put variants into one object with a field that tells them apart.";
    FILE_REFERENCES Error "file-references" "`openaiFileIdRefs` in another place or shape"
        "Files are handed over only in a parameter of this name at the top of the body, an array of strings."
        "Declare `openaiFileIdRefs: {type: array, items: {type: string}}` in the body's `properties`.";
    FILE_RESPONSE Error "file-response" "`openaiFileResponse` in another place or shape"
        "Files are taken only from a list of this name at the top of the answer."
        "Declare `openaiFileResponse` as an array in the answer's `properties`.";
    RESPONSE_DESCRIPTION Error "response-description" "A response without a description"
        "OpenAPI requires it; a document without it is invalid."
        "Add a `description`, a few words.";
    RESPONSE_SUCCESS Warning "response-success" "No response of success"
        "The model does not know what a call gives it."
        "Add a response 200 (or 201, 202, 204) with its schema.";
    RESPONSE_ARRAY Warning "response-array" "An answer that is a bare list"
        "The importer expects objects, and a list leaves no room for a cursor or a hint."
        "Wrap it: `{\"items\": […]}`.";
    RESPONSE_MEDIA Warning "response-media" "An answer that is not text"
        "Actions take text only: no images, no video, no streams."
        "Answer with JSON; hand files over as `openaiFileResponse`, streams as pages with a cursor.";
    EXAMPLE_INVALID Warning "example-invalid" "An example that contradicts its schema"
        "The model imitates the example and is refused, or trusts the wrong shape."
        "Correct the example or the schema.";
    // Schemas.
    SCHEMA_PROPERTIES Error "schema-properties" "An object without `properties`"
        "The importer answers \"object schema missing properties\"."
        "List the fields in `properties`, or give an empty `properties: {}`.";
    SCHEMA_FREE_MAP Error "schema-free-map" "An object of arbitrary keys"
        "The importer knows listed fields: others end in \"object schema missing properties\", and at run time in \"UnrecognizedKwargsError\"."
        "List the fields, take a list of `{name, value}`, or one text that holds JSON.";
    SCHEMA_OPEN_REQUEST Error "schema-open-request" "An object without listed fields in a request"
        "ChatGPT sends listed fields only: others end in \"UnrecognizedKwargsError\", before a request is made."
        "List the fields, or take one text that holds JSON; when there are none, say `additionalProperties: false`.";
    SCHEMA_REQUIRED Warning "schema-required" "A required field that is not listed"
        "Only fields in `properties` can be sent: a request can never satisfy the schema."
        "Add the field to `properties` or take it out of `required`.";
    SCHEMA_NULL Error "schema-null" "A value that may be null"
        "Null types, alternatives and values with null and `nullable` are known to confuse the importer."
        "Use the plain type without null as a value or default, and leave optional fields out of `required`.";
    SCHEMA_ALTERNATIVES Error "schema-alternatives" "Alternatives or combinations of schemas"
        "Fields of oneOf, anyOf, allOf and lists of types are known to get lost on import."
        "Write one plain schema with the fields of all of them.";
    SCHEMA_UNTYPED Error "schema-untyped" "A value without a type that JSON Schema knows"
        "The model cannot know what to send, and untyped places are known to get lost on import."
        "Give a `type` (string, integer, number, boolean, object or array), for lists `items` with one, too; a text that holds JSON takes any value.";
    REFERENCE_SIBLINGS Error "reference-siblings" "A reference with something beside it"
        "What stands beside `$ref` is known to be ignored, or to confuse the importer."
        "Move it into the schema referred to, or write the schema out.";
    REFERENCE_DANGLING Error "reference-dangling" "A reference that leads nowhere or is no text"
        "The importer answers \"reference to unknown component …; using empty schema\"."
        "Correct the name or add the component.";
    REFERENCE_REMOTE Error "reference-remote" "A reference to another document"
        "The importer reads this document only."
        "Copy what it refers to into `components`.";
    REFERENCE_CIRCULAR Error "reference-circular" "A reference to something that contains it"
        "The importer answers \"Components section contains a circular dependency\"."
        "Cut the circle: end it after one level, or take a list with the ids of parents.";
}
