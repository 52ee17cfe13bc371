//! backend-zookeeper
