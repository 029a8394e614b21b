//! What people are told, in words.

use keyrack_store::Notification;
use serde_json::Value;

/// What a notification says, in a sentence: the same in the console, over the API and by mail.
pub fn told(one: &Notification) -> String {
    let number = |name: &str| one.data[name].as_u64().unwrap_or(0);
    let keys = number("count").max(1);
    let name = &one.subject_name;
    let (keys, is) = if keys == 1 { (format!("The key {name:?}"), "is") } else { (format!("{keys} keys"), "are") };
    let expire = if is == "is" { "expires" } else { "expire" };
    let days = |days: u64| if days == 1 { "a day".to_owned() } else { format!("{days} days") };
    match &*one.kind {
        "API_KEY_CREATED" => match text(&one.data["description"]) {
            "" => format!("The key {name:?} was made; it ends in {}", text(&one.data["last4"])),
            description => {
                format!("The key {name:?} ({description}) was made; it ends in {}", text(&one.data["last4"]))
            }
        },
        "API_KEYS_IMPORTED" => format!("{} keys were imported", number("count")),
        "API_KEY_EXPIRING" => format!("{keys} {expire} within {}", days(number("days"))),
        "API_KEY_EXPIRED" => format!("{keys} {is} past the time of expiry and let nobody in any more"),
        "API_KEY_UNUSED" => {
            format!("{keys} {is} unused for {}; what nobody needs is best revoked", days(number("days")))
        }
        "QUOTA_REACHED" => {
            let (percent, used, limit) = (number("percent"), number("used"), number("monthly_limit"));
            format!("{percent} % of this month's quota is used: {used} of {limit}")
        }
        "OLD_SECRET_SILENT" => format!("The old secret of {name:?} has been silent for a day and is safe to end"),
        "OLD_SECRET_IN_USE" => {
            let from = one.data["used_from"].as_array().map_or(0, Vec::len);
            let from = if from == 1 { "one address".to_owned() } else { format!("{from} addresses") };
            format!("The old secret of {name:?} ends soon and is still used, from {from}")
        }
        other => other.to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
