//! The shapes of the files are those of AWS.

use super::*;

#[test]
#[expect(clippy::float_cmp, reason = "the values are exact")]
fn metrics_are_read_and_written_back() {
    let read: QualityStatistics = serde_json::from_str(STATISTICS).unwrap();
    assert_eq!(read.metrics().unwrap().0, Problem::BinaryClassification);
    assert_eq!(read.metric("recall").unwrap().value, 0.93);
    let auc = read.metric("auc").unwrap();
    assert!(auc.standard_deviation.is_nan());
    assert_eq!(
        serde_json::to_value(auc).unwrap()["standard_deviation"],
        "NaN"
    );
    assert_eq!(read.metric("confusion_matrix"), None);
    let again: Value = serde_json::from_str(STATISTICS).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), again);
    let shape = format!(
        "{{\"dataset\":{{\"item_count\":4}},{}",
        &aws!("binary-shape/statistics-example.json").trim_start()[1..]
    );
    let shape: QualityStatistics = serde_json::from_str(&shape).unwrap();
    assert_eq!(shape.metric("auc").unwrap().standard_deviation, 0.1);
}

#[test]
#[expect(clippy::float_cmp, reason = "the values are exact")]
fn constraints_are_read_and_written_back() {
    let text = r#"{"version":0.0,"regression_constraints":{
        "mae":{"threshold":1.5,"comparison_operator":"GreaterThanThreshold","additional_properties":null},
        "r2":{"threshold":0.8,"comparison_operator":"LessThanThreshold"}}}"#;
    let read: QualityConstraints = serde_json::from_str(text).unwrap();
    let mae = read.constraint("mae").unwrap();
    assert_eq!(mae.threshold, 1.5);
    assert_eq!(
        mae.comparison_operator,
        ComparisonOperator::GreaterThanThreshold
    );
    assert_eq!(read.constraint("rmse"), None);
    let again: Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), again);
    let of_aws: QualityConstraints =
        serde_json::from_str(aws!("binary-maintenance/constraints-printed.json")).unwrap();
    assert!(
        of_aws
            .constraint("true_negative_rate")
            .unwrap()
            .threshold
            .is_nan()
    );
}
