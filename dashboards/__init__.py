"""
What Prometheus and Grafana are given: configuration, rules and dashboards; and the code that writes them.

Everything here speaks of metrics by their names alone, and each name is checked against `metrics/catalog.py`
(tests/unit/test_rules.py, tests/unit/test_grafana.py).
"""
